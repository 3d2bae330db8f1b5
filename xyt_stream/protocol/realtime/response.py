"""One response: what the model says from when it begins, or is asked to, until it is silent."""

from __future__ import annotations

import collections
from typing import Any, Protocol

from xyt_stream.audio import FRAME_SECONDS, Samples
from xyt_stream.protocol.realtime.audio_formats import AudioEncoder
from xyt_stream.protocol.realtime.settings import AudioFormat

PAUSE = 0.32  # seconds of silence that end a response; less belongs to it
_STRETCHES = 256  # of speech between pauses that are remembered, the latest


class Emit(Protocol):
    """Sends an event of this type, with these fields."""

    def __call__(self, kind: str, /, **fields: Any) -> None: ...


class Response:
    """Begins as it is made, and ends with `finish`.

    Args:
        emit: takes its events.
        names: ids of the response, of its item and of the conversation.
        form: of the sound that the client gets.
        rate: Hz of the model's sound.
        metadata: of the client's, given back.

    Attributes:
        speaking: whether the model has said anything.
        before: frames that the model had said in all when it began.
    """

    def __init__(
        self,
        emit: Emit,
        *,
        names: tuple[str, str, str],
        form: AudioFormat,
        rate: int,
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.id, self.item_id, self._conversation_id = names
        self.speaking = False
        self.before = 0
        self._emit = emit
        self._format = form
        self._metadata = metadata
        self._rate = rate
        self._encoder = AudioEncoder(form, rate)
        self._pause: list[Samples] = []  # the silence since it spoke last
        self._length = 0  # samples of its item, at `rate`
        self._spoken = 0  # and of them those that are no pause
        # Where in the item each stretch of speech begins, and what was spoken before.
        self._stretches: collections.deque[tuple[int, int]] = collections.deque(maxlen=_STRETCHES)
        emit("response.created", response=self._told("in_progress"))

    @property
    def audio_ms(self) -> int:
        """Of sound sent so far."""
        return round(self._encoder.seconds * 1e3)

    def frames_until(self, ms: int) -> int:
        """How many frames the model had said in all where so much of the item was played."""
        end, after = round(ms * self._rate / 1e3), self._spoken
        for start, before in reversed(self._stretches):
            if start <= end:
                heard = min(end - start + before, after)
                break
            after = before
        else:
            heard = after
        return self.before + int(heard / (FRAME_SECONDS * self._rate))

    def begin(self, previous_item_id: str | None, before: int) -> None:
        """The model speaks from now on: its item comes behind `previous_item_id`."""
        self.speaking, self.before = True, before
        self._previous = previous_item_id
        item = self._item("in_progress")
        self._emit("response.output_item.added", response_id=self.id, output_index=0, item=item)
        self._emit("conversation.item.added", previous_item_id=previous_item_id, item=item)
        self._emit("response.content_part.added", **self._place(), part=_PART)

    def speak(self, samples: Samples) -> None:
        """The model's next sound, float32 [n]."""
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
        """The model is silent, float32 [n]; whether it may still go on after that."""
        self._pause.append(samples)
        return sum(map(len, self._pause)) < PAUSE * self._rate

    def finish(self, status: str, details: dict[str, Any] | None = None) -> None:
        """The end: "completed", "cancelled" or "failed", and more about the latter two."""
        if self.speaking:
            self._send(self._encoder.flush())
            item = self._item("completed" if status == "completed" else "incomplete")
            self._emit("response.output_audio.done", **self._place())
            self._emit("response.content_part.done", **self._place(), part=_PART)
            self._emit("response.output_item.done", response_id=self.id, output_index=0, item=item)
            self._emit("conversation.item.done", previous_item_id=self._previous, item=item)
        self._emit("response.done", response=self._told(status, details))

    def _send(self, data: bytes) -> None:
        if data:
            self._emit("response.output_audio.delta", **self._place(), delta=data)

    def _place(self) -> dict[str, Any]:
        return {
            "response_id": self.id,
            "item_id": self.item_id,
            "output_index": 0,
            "content_index": 0,
        }

    def _item(self, status: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [{"type": "output_audio", "transcript": None}]
        return {
            "id": self.item_id,
            "object": "realtime.item",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _told(self, status: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
        item = self._item("completed" if status == "completed" else "incomplete")
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": details and {"type": status, **details},
            "output": [item] if self.speaking else [],
            "conversation_id": self._conversation_id,
            "output_modalities": ["audio"],
            "max_output_tokens": "inf",
            "audio": {"output": {"format": self._format}},
            "usage": None,
            "metadata": self._metadata,
        }


_PART = {"type": "audio", "transcript": None}
