"""Produces the events of one response: one item with one content part of audio."""

from __future__ import annotations

import collections
from typing import Any, Protocol

from xyt_stream.audio import FRAME_SECONDS, Samples
from xyt_stream.protocol.realtime.audio_formats import AudioEncoder
from xyt_stream.protocol.realtime.items import message
from xyt_stream.protocol.realtime.settings import AudioFormat

PAUSE = 0.32  # seconds of silence that end a response; shorter pauses belong to it
_KEPT_STRETCHES = 256  # latest stretches of speech between pauses, for `frames_until`


class Emit(Protocol):
    """Sends an event of type `kind` with these fields."""

    def __call__(self, kind: str, /, **fields: Any) -> None: ...


class Response:
    """A response in progress; making one sends `response.created`, `finish` ends it.

    Args:
        emit: called with each event.
        response_id: id of the response.
        item_id: id of its item.
        conversation_id: id of the conversation that the item belongs to; None: to no one.
        form: format of the audio that the client receives.
        rate: Hz of the model's audio.
        metadata: the client's; returned unchanged.

    Attributes:
        item: the response's item so far.
        speaking: whether the response has audio.
        frames_before: model frames spoken in all before this response.
    """

    def __init__(
        self,
        emit: Emit,
        *,
        response_id: str,
        item_id: str,
        conversation_id: str | None,
        form: AudioFormat,
        rate: int,
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.id, self.item_id, self._conversation_id = response_id, item_id, conversation_id
        self.item = {"id": item_id, **message("assistant", [], "in_progress")}
        self.speaking = False
        self.frames_before = 0
        self._emit = emit
        self._format = form
        self._metadata = metadata
        self._rate = rate
        self._encoder = AudioEncoder(form, rate)
        self._previous: str | None = None
        self._pause: list[Samples] = []  # silence since the last speech
        self._length = 0  # samples of the item, at `rate`
        self._spoken = 0  # samples of the item without its pauses
        # Where each stretch of speech begins in the item, and the samples spoken before it.
        self._stretches: collections.deque[tuple[int, int]] = collections.deque(
            maxlen=_KEPT_STRETCHES
        )
        emit("response.created", response=self._fields("in_progress"))

    @property
    def in_conversation(self) -> bool:
        """Whether its item belongs to the conversation."""
        return self._conversation_id is not None

    @property
    def audio_ms(self) -> int:
        """Duration of the audio sent so far."""
        return round(self._encoder.seconds * 1e3)

    def frames_until(self, ms: int) -> int:
        """Model frames spoken in all up to `ms` of this item's audio."""
        end, after = round(ms * self._rate / 1e3), self._spoken
        for start, before in reversed(self._stretches):
            if start <= end:
                played = min(end - start + before, after)
                break
            after = before
        else:
            played = after
        return self.frames_before + int(played / (FRAME_SECONDS * self._rate))

    def begin(self, previous_item_id: str | None, frames_before: int) -> None:
        """Adds the response's item after `previous_item_id`; its audio follows."""
        self.speaking, self.frames_before = True, frames_before
        self._previous = previous_item_id
        place = {"response_id": self.id, "output_index": 0}
        self._emit("response.output_item.added", **place, item=self.item)
        if self.in_conversation:
            self._emit("conversation.item.added", previous_item_id=self._previous, item=self.item)
        self._emit("response.content_part.added", **self._location(), part={"type": "audio"})

    def speak(self, samples: Samples) -> None:
        """Sends the model's next audio, float32 [n], and the pause before it."""
        for samples_of_pause in self._pause:
            self._length += len(samples_of_pause)
            self._send(self._encoder.encode(samples_of_pause))
        if self._pause or not self._stretches:
            self._stretches.append((self._length, self._spoken))
        self._pause = []
        self._length += len(samples)
        self._spoken += len(samples)
        self._send(self._encoder.encode(samples))

    def pause(self, samples: Samples) -> bool:
        """Keeps silence, float32 [n]; returns whether the response may still go on after it."""
        self._pause.append(samples)
        return sum(map(len, self._pause)) < PAUSE * self._rate

    def finish(self, status: str, heard: int, details: dict[str, Any] | None = None) -> None:
        """Sends the last events.

        Args:
            status: "completed", "cancelled" or "failed".
            heard: frames of the user's that the model heard for this response.
            details: fields of `status_details` for the latter two.
        """
        completed = status == "completed"
        if self.speaking:
            if completed:  # after a cancellation no more audio follows, not even a resampler's rest
                self._send(self._encoder.flush())
            content = [{"type": "output_audio"}]
            end = "completed" if completed else "incomplete"
            self.item = {"id": self.item_id, **message("assistant", content, end)}
            place = {"response_id": self.id, "output_index": 0}
            self._emit("response.output_audio.done", **self._location())
            self._emit("response.content_part.done", **self._location(), part={"type": "audio"})
            self._emit("response.output_item.done", **place, item=self.item)
            if self.in_conversation:
                self._emit(
                    "conversation.item.done", previous_item_id=self._previous, item=self.item
                )
        fields = self._fields(status)
        fields["status_details"] = details and {"type": status, **details}
        fields["usage"] = _usage(heard, round(self._spoken / (FRAME_SECONDS * self._rate)))
        self._emit("response.done", response=fields)

    def _send(self, data: bytes) -> None:
        if data:
            self._emit("response.output_audio.delta", **self._location(), delta=data)

    def _location(self) -> dict[str, Any]:
        return {
            "response_id": self.id,
            "item_id": self.item_id,
            "output_index": 0,
            "content_index": 0,
        }

    def _fields(self, status: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": None,
            "output": [self.item] if self.speaking else [],
            "conversation_id": self._conversation_id,
            "output_modalities": ["audio"],
            "max_output_tokens": "inf",
            "audio": {"output": {"format": self._format}},
            "usage": None,
            "metadata": self._metadata,
        }


def _usage(heard: int, spoken: int) -> dict[str, Any]:
    """The field "usage": the frames of 80 ms that the model heard and spoke are its tokens."""
    return {
        "total_tokens": heard + spoken,
        "input_tokens": heard,
        "output_tokens": spoken,
        "input_token_details": {
            "audio_tokens": heard,
            "text_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": 0,
            "cached_tokens_details": {"audio_tokens": 0, "text_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"audio_tokens": spoken, "text_tokens": 0},
    }
