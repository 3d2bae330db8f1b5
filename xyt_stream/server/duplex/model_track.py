"""Plays a model's speech to a user: in each frame of their conversation, speech or silence."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import TypedDict

from xyt_stream.protocol.messages import Playing
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.duplex.interruption import Interruption
from xyt_stream.server.engine.fanout import InterruptibleListener
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.engine.slot_stream import Length
from xyt_stream.server.engine.slots import RING
from xyt_stream.server.engine.speech_stream import SpeechStream
from xyt_stream.server.saved import SavedCodeStream, SavedConversation

_REMEMBERED = 128  # frames; more than any client buffers


class SavedTrack(TypedDict):
    """The fields of SavedConversation that a track fills."""

    decided: int
    heard: int
    played: int
    speaking_frames: list[int]
    heard_frames: list[int]
    speaking: bool
    muted_until: int
    model_ended: bool
    model: SavedCodeStream


class ModelTrack:
    """The model's half of a conversation. For the event loop's thread.

    Each frame of the conversation's clock is decided (speech or silence), decoded, and heard.

    Args:
        engine: decodes.
        silence: codes that the decoder gets while the model is silent, int64 [codebooks].
        listener: receives sound in every frame, codes only while the model speaks.
        on_playing: called when the model begins to speak, or stops.
        on_step: called when the decoder has taken a frame, so that `undecoded` is less.
        on_over: called after the listener has the end.
        on_error: called when the device has failed.

    Attributes:
        decided: frames of the clock that are decided.
        played: the model's frames that were heard, in all.

    Raises:
        ProtocolError: busy: the listener wants sound and no slot is free.
    """

    def __init__(
        self,
        engine: SlotEngine,
        silence: CodeArray,
        listener: InterruptibleListener,
        *,
        on_playing: Callable[[Playing], None],
        on_step: Callable[[], None],
        on_over: Callable[[], None],
        on_error: Callable[[], None],
    ) -> None:
        self.decided = 0
        self.played = 0
        self._codec = engine.codec
        self._on_playing = on_playing
        self._on_step = on_step
        self._heard = 0  # frames of the clock
        self._undecoded: collections.deque[CodeArray | None] = collections.deque()  # None: silence
        self._speaking_frames: set[int] = set()  # in which the model speaks, not heard yet
        self._heard_frames: collections.deque[int]  # in which it spoke, heard
        self._heard_frames = collections.deque(maxlen=_REMEMBERED)
        self._speaking = False
        self._ended = False
        self._stream = SpeechStream(
            engine,
            silence,
            listener,
            on_step=self._step,
            on_heard=self._count_heard,
            on_over=on_over,
            on_error=on_error,
        )

    @property
    def undecoded(self) -> int:
        """Number of decided frames that the decoder has not taken."""
        return len(self._undecoded) + self._stream.waiting

    @property
    def unpushed(self) -> int:
        """Number of decided frames that the decoder's ring does not hold yet."""
        return len(self._undecoded)

    @property
    def unheard(self) -> int:
        """Number of frames of speech that are decided and not heard."""
        return len(self._speaking_frames)

    def decide(self, codes: CodeArray | None) -> None:
        """Sets what the user hears in the next frame, int64 [codebooks]; None: silence."""
        if (codes is not None) != self._speaking:
            self._speaking = codes is not None
            played = self.played + len(self._speaking_frames)
            self._on_playing(Playing(frame=self.decided, played=played, speaking=self._speaking))
        if codes is not None:
            self._speaking_frames.add(self.decided)
        self.decided += 1
        self._undecoded.append(codes)
        self._feed_decoder()

    def is_muted(self) -> bool:
        """Whether the next frame lies before the end of an interruption: it is silent."""
        return self.decided < self._stream.muted_until

    def interrupt(self, until: int, dropped: int) -> Interruption:
        """Silences all frames before frame `until` that were not heard.

        Args:
            until: index of a frame.
            dropped: the model's frames that will never be heard, those of this track among them.
        """
        heard_frames = tuple(self._heard_frames)
        self._speaking_frames.clear()
        self._undecoded = collections.deque([None] * len(self._undecoded))
        self._stream.interrupt(until)
        return Interruption(until, self.played, dropped, self._heard, heard_frames)

    def end(self) -> None:
        """Ends the stream after the decided frames, if it has not ended.

        Call it once the decoder's ring holds all of them.
        """
        if not self._ended:
            self._ended = True
            samples = self.decided * self._codec.frame_samples_out
            self._stream.end_codes(Length(samples, self._codec.output_rate))

    async def settled(self) -> None:
        """Waits until all that was pushed is decoded."""
        await self._stream.settled()

    async def save(self) -> SavedTrack:
        """The state of a settled track, for another server."""
        return SavedTrack(
            decided=self.decided,
            heard=self._heard,
            played=self.played,
            speaking_frames=sorted(self._speaking_frames),
            heard_frames=list(self._heard_frames),
            speaking=self._speaking,
            muted_until=self._stream.muted_until,
            model_ended=self._ended,
            model=await self._stream.save(),
        )

    async def load(self, saved: SavedConversation) -> None:
        """Goes on as the track of another server, before any frame was decided.

        Raises:
            HandoverError: it does not fit.
        """
        await self._stream.load(saved.model)
        self.decided, self.played, self._heard = saved.decided, saved.played, saved.heard
        self._speaking_frames = set(saved.speaking_frames)
        self._heard_frames.extend(saved.heard_frames)
        self._speaking, self._stream.muted_until = saved.speaking, saved.muted_until
        self._ended = saved.model_ended

    def update_decoding(self) -> None:
        """Decodes if the listener wants sound now; see CodeStream."""
        self._stream.update_decoding()

    def close(self) -> None:
        """Gives the slot back at once; the listener receives nothing more."""
        self._stream.close()

    def _feed_decoder(self) -> None:
        """Pushes as many decided frames as the decoder's ring holds."""
        while self._undecoded and self._stream.waiting < RING:
            self._stream.push_nowait(self._undecoded.popleft())

    def _step(self) -> None:
        self._feed_decoder()
        self._on_step()

    def _count_heard(self, index: int) -> None:
        self._heard = index + 1
        heard = {each for each in self._speaking_frames if each <= index}
        self._speaking_frames -= heard
        self._heard_frames.extend(sorted(heard))
        self.played += len(heard)
