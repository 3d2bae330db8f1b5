"""Cuts a client's media into the frames that a stream takes."""

from __future__ import annotations

import asyncio
import collections
from typing import Protocol, TypeAlias

import numpy as np

from xyt_stream.audio import FRAME_SECONDS, Samples, StreamResampler, fit_length, to_float32
from xyt_stream.errors import HandoverError
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Cleared
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.code_stream import CodeStream
from xyt_stream.server.engine.slot_stream import Length
from xyt_stream.server.saved import SavedFramer
from xyt_stream.server.saved_arrays import array, codes_of, values_of
from xyt_stream.server.sessions.moving import resampler_state, save_resampler
from xyt_stream.server.sessions.room import Room
from xyt_stream.server.sessions.send_queue import SendQueue

_TURN = 16  # frames of one message that are passed on at once


class CodeSink(Protocol):
    """Takes frames of codes: a CodeStream, or a Conversation for its user."""

    async def push_codes(self, frame: CodeArray) -> None:
        """Takes a frame, int64 [codebooks]; waits for a free place."""

    def skip(self, index: int, frames: int) -> None:
        """So many frames were left out before frame `index`."""

    def end_codes(self, length: Length) -> None:
        """Ends the stream; see CodeStream."""


class FrameSink(Protocol):
    """Takes frames of sound: a SlotStream, or a Conversation for its user."""

    def prime(self, samples: Samples) -> None:
        """Takes the encoder's lookahead; see SlotStream."""

    async def push(self, frame: Samples) -> None:
        """Takes a frame, float32 [frame_samples]; waits for a free place."""

    def skip(self, index: int, frames: int) -> None:
        """So many frames were left out before frame `index`."""

    async def end(self, length: Length, left: int = 0, last: Samples | None = None) -> None:
        """Ends the stream; see SlotStream."""


class SoundFramer:
    """Cuts sound of any rate, in chunks of any size, into frames.

    Args:
        sink: takes the frames.
        rate: Hz of the sound.
        codec_rate: Hz of the frames.
        frame_samples: samples in a frame.
        lead: samples that the encoder needs before the first frame.

    Attributes:
        pushed: frames that the sink has taken.
    """

    def __init__(
        self, sink: FrameSink, rate: int, codec_rate: int, frame_samples: int, lead: int
    ) -> None:
        self._sink = sink
        self._rate = rate
        self._frame_samples = frame_samples
        self._lead = lead
        self._primed = lead == 0
        self.pushed = 0
        self._resampler = StreamResampler(rate, codec_rate)
        self._taken = 0  # samples, at the client's rate
        self._rest = np.zeros(0, np.float32)  # what the sink has not taken
        self._flushed = False

    async def take(self, media: Pcm | Codes) -> None:
        """Takes a message of sound; waits while the sink does."""
        assert isinstance(media, Pcm)
        self._taken += len(media.samples)
        await self.push(self._resampler.push(to_float32(media.samples)))

    async def push(self, samples: Samples) -> None:
        """Takes float32 [n] at the codec's rate; waits while the sink does."""
        samples = np.concatenate([self._rest, samples])
        if not self._primed and len(samples) >= self._lead:
            self._sink.prime(samples[: self._lead])
            samples = samples[self._lead :]
            self._primed = True
        if not self._primed:
            self._rest = samples
            return
        # Samples stay in `_rest` until the sink takes them: the stream may move to another server.
        self._rest = samples
        while len(self._rest) >= self._frame_samples:
            await self._sink.push(self._rest[: self._frame_samples])
            self._rest = self._rest[self._frame_samples :]
            self.pushed += 1

    def drop(self, media: Pcm | Codes) -> int:
        """Leaves a message out, up to its last whole frame; returns the number of frames."""
        assert isinstance(media, Pcm)
        samples = np.concatenate([self._rest, self._resampler.push(to_float32(media.samples))])
        frames = len(samples) // self._frame_samples
        self._rest = samples[frames * self._frame_samples :]
        self._taken += len(media.samples) - frames * round(self._rate * FRAME_SECONDS)
        self._sink.skip(self.pushed, frames)
        return frames

    async def finish(self) -> None:
        """Pads the last frame and ends the stream."""
        if not self._flushed:
            self._flushed = True
            self._rest = np.concatenate([self._rest, self._resampler.flush()])
        await self.push(np.zeros(0, np.float32))
        rest, lead = self._rest, self._lead
        left = -(-(len(rest) + (lead if self._primed else 0)) // self._frame_samples)
        if not self._primed:
            self._sink.prime(fit_length(rest, lead))
            rest = rest[:0]
        last = fit_length(rest, self._frame_samples) if len(rest) else None
        await self._sink.end(Length(self._taken, self._rate), left, last)

    async def go_on(self) -> None:
        """Pushes what the sink has not taken before the stream moved here."""
        await self.push(np.zeros(0, np.float32))

    def save(self) -> SavedFramer:
        """Returns the state that lets another server continue; `take` may have been cancelled."""
        return SavedFramer(
            pushed=self.pushed,
            taken=self._taken,
            rest=array(self._rest),
            primed=self._primed,
            flushed=self._flushed,
            resampler=save_resampler(self._resampler.state()),
        )

    def load(self, saved: SavedFramer) -> None:
        """Goes on as the framer of another server.

        Raises:
            HandoverError: it does not fit.
        """
        if saved.rest is None or saved.resampler is None:
            raise HandoverError("the state of sound is missing")
        self._rest = values_of(saved.rest, "float32", (None,))
        self._resampler.load(resampler_state(saved.resampler))
        self.pushed, self._taken = saved.pushed, saved.taken
        self._primed, self._flushed = saved.primed, saved.flushed


class CodeFramer:
    """Cuts messages of codes into frames.

    Args:
        sink: takes the frames.
        codec_rate: Hz at which the codec decodes.
        frame_samples: samples in a decoded frame.
        codebooks: that the sink takes: those that a client leaves out are filled with -1; None: as
            many as come.

    Attributes:
        pushed: frames that the sink has taken.
    """

    def __init__(
        self, sink: CodeSink, codec_rate: int, frame_samples: int, codebooks: int | None = None
    ) -> None:
        self._sink = sink
        self._rate = codec_rate
        self._frame_samples = frame_samples
        self._codebooks = codebooks
        self._rest: collections.deque[CodeArray] = collections.deque()  # not taken by the sink
        self.pushed = 0

    async def take(self, media: Pcm | Codes) -> None:
        """Takes a message of codes; waits while the sink does."""
        assert isinstance(media, Codes)
        codes = media.codes
        if self._codebooks is not None and len(codes) < self._codebooks:
            missing = self._codebooks - len(codes)
            codes = np.pad(codes, ((0, missing), (0, 0)), constant_values=-1)
        self._rest.extend(codes.T)
        await self.go_on()

    def may_take(self, media: Codes) -> bool:
        """Whether `take` would not wait: nothing is left over, and the sink takes all frames."""
        sink, frames = self._sink, media.codes.shape[1]
        if self._rest or frames > _TURN:
            return False
        return isinstance(sink, CodeStream) and sink.has_room(frames)

    def take_now(self, media: Codes) -> None:
        """Takes a message of codes without waiting; `may_take` has said that it can be."""
        assert isinstance(self._sink, CodeStream)
        for frame in media.codes.T:
            self._sink.push_nowait(frame)
            self.pushed += 1

    async def go_on(self) -> None:
        """Pushes what the sink has not taken, here or before the stream moved here."""
        while self._rest:
            await self._sink.push_codes(self._rest[0])
            self._rest.popleft()
            self.pushed += 1
            if self._rest and not len(self._rest) % _TURN:
                await asyncio.sleep(0)  # listeners send what they have, before theirs is too much

    def save(self) -> SavedFramer:
        """Returns the state that lets another server continue; `take` may have been cancelled."""
        rest = array(np.array(self._rest)) if self._rest else None
        return SavedFramer(pushed=self.pushed, rest=rest)

    def load(self, saved: SavedFramer) -> None:
        """Goes on as the framer of another server.

        Raises:
            HandoverError: it does not fit.
        """
        self.pushed = saved.pushed
        if saved.rest is not None:
            self._rest.extend(codes_of(saved.rest, None, None))

    def drop(self, media: Pcm | Codes) -> int:
        """Leaves a message out; returns the number of its frames."""
        assert isinstance(media, Codes)
        frames = int(media.codes.shape[1])
        self._sink.skip(self.pushed, frames)
        return frames

    async def finish(self) -> None:
        """Ends the stream."""
        self._sink.end_codes(Length(self.pushed * self._frame_samples, self._rate))


class AnswerFramer:
    """Passes a remote model's codes to the conversation in its room, once there is one.

    Args:
        room: of the model.
        send_queue: of the model's client.
        limit: frames that may be queued in the conversation.
    """

    def __init__(self, room: Room, send_queue: SendQueue, limit: int) -> None:
        self._room = room
        self._send_queue = send_queue
        self._limit = limit
        self._interruptions = 0

    async def take(self, media: Pcm | Codes) -> None:
        """Takes a message of codes; waits for a user, and for a free place in the conversation."""
        assert isinstance(media, Codes)
        if not media.codes.size:
            return
        interruptions = self._interruptions
        conversation = await self._room.wait_for_user()
        await conversation.drain(self._limit)
        if interruptions == self._interruptions:
            conversation.add_model_frames(media.codes)

    async def go_on(self) -> None:
        """Nothing is ever taken in part."""

    def save(self) -> SavedFramer:
        """There is nothing to save: the conversation holds all that was taken."""
        return SavedFramer()

    def load(self, saved: SavedFramer) -> None:
        """There is nothing to load."""

    async def finish(self) -> None:
        """Ends the model's session."""
        self._send_queue.end()

    def interrupt(self, dropped: int) -> None:
        """Drops the model's speech that was not heard, at the model's own request.

        Args:
            dropped: frames that were dropped before they came here.
        """
        self._interruptions += 1
        if self._room.conversation is not None:
            self._room.conversation.interrupt(dropped)
        else:
            self._send_queue.put_control(Cleared(frame=0, played=0, dropped=dropped))


Framer: TypeAlias = SoundFramer | CodeFramer | AnswerFramer
