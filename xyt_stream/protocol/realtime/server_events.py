"""The server's side of a Realtime session without its sockets and its sound: what is said when.

A model that always listens decides by itself when it speaks. A response begins with the first frame
in which it does, or when the client asks for one, and ends when it is silent again.
"""

from __future__ import annotations

import collections
import itertools
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from xyt_stream.audio import Samples
from xyt_stream.errors import EventError, ProtocolError
from xyt_stream.protocol.realtime.client_events import (
    ItemTruncate,
    ResponseCancel,
    ResponseCreate,
    SessionUpdate,
)
from xyt_stream.protocol.realtime.response import Response
from xyt_stream.protocol.realtime.settings import Settings, check_modalities

_REMEMBERED = 64  # replies whose length is known, for truncation
_SERVERS_FAULT = {"internal", "busy", "going_away"}


class ServerEvents:
    """Told what happens, it sends the events that say so.

    Args:
        model: its name.
        rate: Hz of the model's sound.
        send: takes each event's JSON.
        cancel_output: called to drop the model's speech that waits; with the number of model frames
            that were played in all, if the client has reported it.
        played: how many frames of the model's have been heard in all, the latest included.

    Attributes:
        id: of the session.
        settings: in force.
        response: the response that goes on.
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
        self.id = _name("sess")
        self.settings = Settings()
        self.response: Response | None = None
        self._latest: Response | None = None  # in which the model spoke, of those that are over
        self._model = model
        self._rate = rate
        self._send = send
        self._cancel_output = cancel_output
        self._played = played
        self._events = itertools.count(1)
        self._conversation_id = _name("conv")
        self._last_item: str | None = None
        self._turn: str | None = None  # the item that the user speaks now
        self._muted = False  # what the model says belongs to a response that was cancelled
        self._lengths: collections.OrderedDict[str, int] = collections.OrderedDict()  # ms

    def open(self) -> None:
        """The session begins."""
        self._emit("session.created", session=self._session())

    def update(self, event: SessionUpdate) -> None:
        """Changes settings.

        Raises:
            EventError: they cannot be had.
        """
        self.settings = self.settings.changed(event.session)
        self._emit("session.updated", session=self._session())

    def refuse(self, error: EventError, event_id: str | None) -> None:
        """An event of the client's was wrong; the session goes on."""
        self._emit("error", error=_told(error.code, str(error), error.param, event_id))

    def fail(self, error: ProtocolError) -> None:
        """The last event of a session that must end."""
        told = _told(error.name, str(error))
        if self.response is not None:
            self._finish("failed", {"error": told})
        self._emit("error", error=told)

    def cleared(self) -> None:
        """What the client sent and did not commit is forgotten."""
        self._turn = None
        self._emit("input_audio_buffer.cleared")

    def speech_started(self, ms: int) -> None:
        """The user begins to speak."""
        self._turn = _name("item")
        self._emit("input_audio_buffer.speech_started", audio_start_ms=ms, item_id=self._turn)
        turns = self.settings.turn_detection
        if turns is not None and turns.interrupt_response:
            self._interrupt("turn_detected")

    def speech_stopped(self, ms: int) -> None:
        """The user's turn is over, and becomes an item."""
        self._emit("input_audio_buffer.speech_stopped", audio_end_ms=ms, item_id=self._turn)
        self.commit()
        self._muted = False

    def commit(self) -> None:
        """What the user said since the last commit becomes an item."""
        item_id, self._turn = self._turn or _name("item"), None
        self._emit(
            "input_audio_buffer.committed", previous_item_id=self._last_item, item_id=item_id
        )
        self.add_item(item_id)

    def add_item(self, item_id: str | None) -> None:
        """The user's item is in the conversation."""
        item_id = item_id or _name("item")
        previous, self._last_item = self._last_item, item_id
        item = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        self._emit("conversation.item.added", previous_item_id=previous, item=item)
        self._emit("conversation.item.done", previous_item_id=previous, item=item)

    def can_append_after(self, item_id: str | None) -> bool:
        """Whether a new item would come after this one, None being wherever it comes."""
        return item_id is None or item_id == (self._last_item or "root")

    def create(self, event: ResponseCreate) -> None:
        """The client wants to hear the model.

        Raises:
            EventError: it speaks already, or cannot do what is asked.
        """
        wanted = event.response
        if wanted is not None:
            check_modalities(wanted.output_modalities, "response.output_modalities")
            if wanted.conversation not in (None, "auto") or wanted.input is not None:
                raise EventError(
                    "not_supported",
                    "The model answers what it has heard; it takes no other input.",
                    "response.conversation" if wanted.input is None else "response.input",
                )
        if self.response is not None:
            raise EventError(
                "conversation_already_has_active_response",
                f"The response {self.response.id} goes on: wait for response.done, or cancel it.",
            )
        self._muted = False
        self._begin(None if wanted is None else wanted.metadata)

    def cancel(self, event: ResponseCancel) -> None:
        """The client has heard enough.

        Raises:
            EventError: there is no such response.
        """
        if self.response is None or event.response_id not in (None, self.response.id):
            raise EventError("response_cancel_not_active", "There is no such response to cancel.")
        self._interrupt("client_cancelled")

    def truncate(self, event: ItemTruncate) -> None:
        """The client tells how much of an item it played.

        Raises:
            EventError: there was no such item, or less of it.
        """
        lengths = self._lengths
        if self.response is not None and self.response.speaking:
            lengths = lengths | {self.response.item_id: self.response.audio_ms}
        if event.item_id not in lengths or event.content_index:
            raise EventError("invalid_value", "The model has said no such item.", "item_id")
        if event.audio_end_ms > lengths[event.item_id]:
            raise EventError(
                "invalid_value",
                f"The item holds {lengths[event.item_id]} ms of sound.",
                "audio_end_ms",
            )
        self._emit(
            "conversation.item.truncated",
            item_id=event.item_id,
            content_index=0,
            audio_end_ms=event.audio_end_ms,
        )
        # What it is about to say, or says since, is not to be cut off by what is past.
        response = self.response or self._latest
        if response is not None and response.item_id == event.item_id:
            self._cancel_output(response.frames_until(event.audio_end_ms))

    def on_speech(self, samples: Samples) -> None:
        """The model's next sound in which it speaks, float32 [n]."""
        if self._muted or not (self.response or self.settings.live):
            return
        response = self.response or self._begin(None)
        if not response.speaking:
            response.begin(self._last_item, self._played() - 1)
            self._last_item = response.item_id
        response.speak(samples)

    def on_silence(self, samples: Samples) -> None:
        """The model is silent in these; a frame's end, which comes late, may be empty."""
        if self.response is None:
            self._muted = False
        elif self.response.speaking and not self.response.pause(samples):
            self._finish("completed")

    def end_silent_response(self) -> None:
        """The model was given time to speak, and has not."""
        if self.response is not None and not self.response.speaking:
            self._finish("completed")

    def _begin(self, metadata: dict[str, str] | None) -> Response:
        self.response = Response(
            self._emit,
            names=(_name("resp"), _name("item"), self._conversation_id),
            form=self.settings.output,
            rate=self._rate,
            metadata=metadata,
        )
        return self.response

    def _interrupt(self, reason: str) -> None:
        if self.response is not None:
            self._muted = self.response.speaking
            self._finish("cancelled", {"reason": reason})
            self._cancel_output(None)

    def _finish(self, status: str, details: dict[str, Any] | None = None) -> None:
        response, self.response = self.response, None
        assert response is not None
        response.finish(status, details)
        if response.speaking:
            self._latest = response
            self._lengths[response.item_id] = response.audio_ms
            if len(self._lengths) > _REMEMBERED:
                self._lengths.popitem(last=False)

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


def error_event(error: ProtocolError) -> str:
    """The only event of a session that cannot begin."""
    event = {"type": "error", "event_id": _name("event"), "error": _told(error.name, str(error))}
    return msgspec.json.encode(event).decode()


def _told(
    code: str, message: str, param: str | None = None, event_id: str | None = None
) -> dict[str, str | None]:
    """What is wrong, as an error event tells it."""
    return {
        "type": "server_error" if code in _SERVERS_FAULT else "invalid_request_error",
        "code": code,
        "message": message,
        "param": param,
        "event_id": event_id,
    }


def _name(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(10)}"
