"""Produces the server's events of one Realtime session; no sockets, no codec.

The model listens all the time and decides by itself when it speaks. A response begins with the
first frame in which the model speaks, or when the client asks for one, and ends when the model is
silent.
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

_KEPT_LENGTHS = 64  # responses whose length is kept, for truncation
_SERVER_ERRORS = {"internal", "busy", "going_away"}


class ServerEvents:
    """Turns what happens in a session into events. All methods run on the event loop.

    Args:
        model: name of the model.
        rate: Hz of the model's audio.
        send: called with each event's JSON.
        cancel_output: called to drop the model's speech that waits; with the number of model frames
            that were played in all, if the client has reported it, else None.
        played: returns the number of model frames played in all, including the latest.

    Attributes:
        id: of the session.
        settings: the settings in force.
        response: the response in progress, or None.
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
        self.id = _new_id("sess")
        self.settings = Settings()
        self.response: Response | None = None
        self._latest: Response | None = None  # the last finished response with audio
        self._model = model
        self._rate = rate
        self._send = send
        self._cancel_output = cancel_output
        self._played = played
        self._events = itertools.count(1)
        self._conversation_id = _new_id("conv")
        self._last_item: str | None = None
        self._turn_item: str | None = None  # id of the item of the user's current turn
        self._muted = False  # the model still speaks in a response that was cancelled
        self._lengths: collections.OrderedDict[str, int] = collections.OrderedDict()  # ms

    def open(self) -> None:
        """Sends `session.created`."""
        self._emit("session.created", session=self._session())

    def update(self, event: SessionUpdate) -> None:
        """Applies an update and sends `session.updated`.

        Raises:
            EventError: the update asks for something unsupported.
        """
        self.settings = self.settings.changed(event.session)
        self._emit("session.updated", session=self._session())

    def refuse(self, error: EventError, event_id: str | None) -> None:
        """Sends `error` for a client event that was wrong; the session goes on."""
        self._emit("error", error=_error(error.code, str(error), error.param, event_id))

    def fail(self, error: ProtocolError) -> None:
        """Sends the last events of a session that must end."""
        fields = _error(error.name, str(error))
        if self.response is not None:
            self._finish("failed", {"error": fields})
        self._emit("error", error=fields)

    def cleared(self) -> None:
        """Sends `input_audio_buffer.cleared`: uncommitted audio was dropped."""
        self._turn_item = None
        self._emit("input_audio_buffer.cleared")

    def speech_started(self, ms: int) -> None:
        """The user began to speak, `ms` after the start of the session's audio.

        Cancels the model's response if `interrupt_response` is set.
        """
        self._turn_item = _new_id("item")
        self._emit("input_audio_buffer.speech_started", audio_start_ms=ms, item_id=self._turn_item)
        turns = self.settings.turn_detection
        if turns is not None and turns.interrupt_response:
            self._interrupt("turn_detected")

    def speech_stopped(self, ms: int) -> None:
        """The user's turn ended, `ms` after the start of the session's audio; commits it."""
        self._emit("input_audio_buffer.speech_stopped", audio_end_ms=ms, item_id=self._turn_item)
        self.commit()
        self._muted = False

    def commit(self) -> None:
        """Makes an item of the user's audio since the last commit."""
        item_id, self._turn_item = self._turn_item or _new_id("item"), None
        self._emit(
            "input_audio_buffer.committed", previous_item_id=self._last_item, item_id=item_id
        )
        self.add_item(item_id)

    def add_item(self, item_id: str | None) -> None:
        """Adds the user's item at the end of the conversation; None: with a new id."""
        item_id = item_id or _new_id("item")
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
        """Whether `previous_item_id` is the last item (None: append)."""
        return item_id is None or item_id == (self._last_item or "root")

    def create(self, event: ResponseCreate) -> None:
        """Begins a response because the client asked for one.

        Raises:
            EventError: a response is in progress, or an option is unsupported.
        """
        options = event.response
        if options is not None:
            check_modalities(options.output_modalities, "response.output_modalities")
            if options.conversation not in (None, "auto") or options.input is not None:
                raise EventError(
                    "not_supported",
                    "The model responds to the conversation only; it takes no other input.",
                    "response.conversation" if options.input is None else "response.input",
                )
        if self.response is not None:
            raise EventError(
                "conversation_already_has_active_response",
                f"The response {self.response.id} is in progress: wait for response.done, "
                "or cancel it.",
            )
        self._muted = False
        self._begin(None if options is None else options.metadata)

    def cancel(self, event: ResponseCancel) -> None:
        """Cancels the response because the client asked for it.

        Raises:
            EventError: there is no such response.
        """
        if self.response is None or event.response_id not in (None, self.response.id):
            raise EventError("response_cancel_not_active", "There is no such response to cancel.")
        self._interrupt("client_cancelled")

    def truncate(self, event: ItemTruncate) -> None:
        """Truncates an item to the audio that the client has played.

        Raises:
            EventError: there is no such item, or it is shorter.
        """
        lengths = self._lengths
        if self.response is not None and self.response.speaking:
            lengths = lengths | {self.response.item_id: self.response.audio_ms}
        if event.item_id not in lengths or event.content_index:
            raise EventError("invalid_value", "There is no such item of the model.", "item_id")
        if event.audio_end_ms > lengths[event.item_id]:
            raise EventError(
                "invalid_value",
                f"The item holds {lengths[event.item_id]} ms of audio.",
                "audio_end_ms",
            )
        self._emit(
            "conversation.item.truncated",
            item_id=event.item_id,
            content_index=0,
            audio_end_ms=event.audio_end_ms,
        )
        # Truncating an earlier item must not cancel the speech of the current response.
        response = self.response or self._latest
        if response is not None and response.item_id == event.item_id:
            self._cancel_output(response.frames_until(event.audio_end_ms))

    def on_speech(self, samples: Samples) -> None:
        """The model spoke: its next audio, float32 [n] at `rate`."""
        if self._muted or not (self.response or self.settings.live):
            return
        response = self.response or self._begin(None)
        if not response.speaking:
            response.begin(self._last_item, self._played() - 1)
            self._last_item = response.item_id
        response.speak(samples)

    def on_silence(self, samples: Samples) -> None:
        """The model was silent: float32 [n] at `rate`; may be empty."""
        if self.response is None:
            self._muted = False
        elif self.response.speaking and not self.response.pause(samples):
            self._finish("completed")

    def end_silent_response(self) -> None:
        """Ends the response if the model has said nothing in it."""
        if self.response is not None and not self.response.speaking:
            self._finish("completed")

    def _begin(self, metadata: dict[str, str] | None) -> Response:
        self.response = Response(
            self._emit,
            names=(_new_id("resp"), _new_id("item"), self._conversation_id),
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
            if len(self._lengths) > _KEPT_LENGTHS:
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
    """The JSON of the only event of a session that cannot begin."""
    event = {"type": "error", "event_id": _new_id("event"), "error": _error(error.name, str(error))}
    return msgspec.json.encode(event).decode()


def _error(
    code: str, message: str, param: str | None = None, event_id: str | None = None
) -> dict[str, str | None]:
    """The field "error" of an error event."""

    return {
        "type": "server_error" if code in _SERVER_ERRORS else "invalid_request_error",
        "code": code,
        "message": message,
        "param": param,
        "event_id": event_id,
    }


def _new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(10)}"
