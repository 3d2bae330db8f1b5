"""Produces the server's events of one Realtime session; no sockets, no codec."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from xyt_stream.errors import EventError, ProtocolError
from xyt_stream.protocol.realtime.client_events import ItemTruncate, ResponseCreate, SessionUpdate
from xyt_stream.protocol.realtime.error_events import describe
from xyt_stream.protocol.realtime.items import USER_AUDIO, History, NewItem, message
from xyt_stream.protocol.realtime.response import Response
from xyt_stream.protocol.realtime.responses import Responses, new_id
from xyt_stream.protocol.realtime.settings import Settings


class ServerEvents:
    """Turns what happens in a session into events. All methods run on the event loop.

    Args:
        model: name of the model.
        rate: Hz of the model's audio.
        send: called with each event's JSON.
        cancel_output: called when the model's speech is not wanted any more, with the model frames
            that were played in all, if the client has reported it, else None.
        played: returns the number of model frames played in all, including the latest.

    Attributes:
        id: of the session.
        responses: made of the model's output.
    """

    def __init__(
        self,
        *,
        model: str,
        rate: int,
        send: Callable[[str], None],
        cancel_output: Callable[[int | None], None] = lambda played: None,
        played: Callable[[], int] = lambda: 0,
    ) -> None:
        self.id = new_id("sess")
        self._model = model
        self._send = send
        self._events = itertools.count(1)
        self._history = History()
        self._turn_item: str | None = None  # id of the item of the user's current turn
        self.responses = Responses(
            self._emit,
            rate=rate,
            history=self._history,
            cancel_output=cancel_output,
            played=played,
        )

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.responses.settings

    @property
    def response(self) -> Response | None:
        """The response in progress, or None."""
        return self.responses.current

    @property
    def size(self) -> int:
        """Bytes of the items that are kept."""
        return self._history.size

    def open(self) -> None:
        """Sends `session.created`."""
        self._emit("session.created", session=self._session())

    def update(self, event: SessionUpdate) -> None:
        """Applies an update and sends `session.updated`.

        Raises:
            EventError: the update asks for something unsupported.
        """
        self.responses.settings = self.settings.changed(event.session)
        self._emit("session.updated", session=self._session())
        if self.settings.live:
            self.responses.release()

    def refuse(self, error: EventError, event_id: str | None) -> None:
        """Sends `error` for a client event that was wrong; the session goes on."""
        self._emit("error", error=describe(error.code, str(error), error.param, event_id))

    def fail(self, error: ProtocolError) -> None:
        """Sends the last events of a session that must end."""
        fields = describe(error.name, str(error))
        if self.response is not None:
            self.responses.finish("failed", {"error": fields})
        self._emit("error", error=fields)

    def create(self, event: ResponseCreate) -> None:
        """Begins a response because the client asked for one.

        Raises:
            EventError: a response is in progress, or an option is unsupported.
        """
        if (wrong := self.responses.create(event)) is not None:
            self.refuse(wrong, event.event_id)

    def cleared(self) -> None:
        """Sends `input_audio_buffer.cleared`: uncommitted audio was dropped."""
        self._turn_item = None
        self._emit("input_audio_buffer.cleared")

    def speech_started(self, ms: int) -> None:
        """The user began to speak, `ms` after the start of the session's audio.

        Cancels the model's response if `interrupt_response` is set.
        """
        self._turn_item = new_id("item")
        self._emit("input_audio_buffer.speech_started", audio_start_ms=ms, item_id=self._turn_item)
        turns = self.settings.turn_detection
        if turns is not None and turns.interrupt_response:
            self.responses.interrupt("turn_detected")

    def speech_stopped(self, ms: int) -> None:
        """The user's turn ended, `ms` after the start of the session's audio; commits it."""
        self._emit("input_audio_buffer.speech_stopped", audio_end_ms=ms, item_id=self._turn_item)
        self.commit()
        self.responses.user_takes_turn()

    def commit(self) -> None:
        """Makes an item of the user's audio since the last commit."""
        item_id, self._turn_item = self._turn_item or new_id("item"), None
        self._emit(
            "input_audio_buffer.committed", previous_item_id=self._history.last, item_id=item_id
        )
        self.add_item(NewItem(item_id, message("user", [USER_AUDIO])))

    def check_new_item(self, item_id: str | None, previous_item_id: str | None) -> None:
        """Raises EventError if no item of this id can be added, or none after that one."""
        self._history.check_new(item_id, previous_item_id)

    def is_reference(self, item: dict[str, Any], index: int) -> bool:
        """Whether an item of a response's input refers to one of the conversation's.

        Raises:
            EventError: there is no such item.
        """
        if item.get("type") != "item_reference":
            return False
        item_id = str(item.get("id"))
        if not self._history.knows(item_id):
            param = f"response.input[{index}].id"
            raise EventError("invalid_value", f"There is no item with id '{item_id[:64]}'.", param)
        return True

    def add_item(self, new: NewItem, previous_item_id: str | None = None) -> None:
        """Adds an item to the conversation, after `previous_item_id` or at its end."""
        item = {"id": new.id or new_id("item"), **new.item}
        previous = self._history.add(item, previous_item_id)
        self._emit("conversation.item.added", previous_item_id=previous, item=item)
        self._emit("conversation.item.done", previous_item_id=previous, item=item)

    def retrieve(self, item_id: str) -> None:
        """Sends an item. Raises EventError if there is no such item."""
        self._emit("conversation.item.retrieved", item=self._history.get(item_id))

    def delete(self, item_id: str) -> None:
        """Deletes an item. Raises EventError if there is no such item."""
        self._history.delete(item_id)
        self._emit("conversation.item.deleted", item_id=item_id)

    def truncate(self, event: ItemTruncate) -> None:
        """Truncates an item to the audio that the client has played.

        Raises:
            EventError: there is no such item of the model's.
        """
        if event.content_index:
            raise EventError("invalid_value", "The item has one part only.", "content_index")
        self._emit(
            "conversation.item.truncated",
            item_id=event.item_id,
            content_index=0,
            audio_end_ms=self.responses.truncate(event.item_id, event.audio_end_ms),
        )

    def _session(self) -> dict[str, Any]:
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self.id,
            "model": self._model,
            "output_modalities": ["audio"],
            "audio": self.settings.audio(),
            "instructions": "",
            "tools": [],
            "max_output_tokens": "inf",
        }

    def _emit(self, kind: str, /, **fields: Any) -> None:
        event = {"type": kind, "event_id": f"event_{self.id[5:]}_{next(self._events)}", **fields}
        self._send(msgspec.json.encode(event).decode())
