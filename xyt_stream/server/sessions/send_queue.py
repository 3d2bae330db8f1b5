"""Queues the messages for one client: at its rate, of exact length, and never too many."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from xyt_stream.audio import FRAME_SECONDS, Pcm16, Samples
from xyt_stream.errors import HandoverError, ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Clear, Control, End, Notice
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.admission.memory import TOLD_STEP
from xyt_stream.server.engine.shared_resampler import SharedResampler
from xyt_stream.server.engine.slot_stream import DecodedFrame, Length
from xyt_stream.server.saved import SavedMessage, SavedSendQueue
from xyt_stream.server.sessions.frame_numbers import FrameNumbers
from xyt_stream.server.sessions.moving import (
    load_message,
    resampler_state,
    save_message,
    save_resampler,
)
from xyt_stream.server.sessions.queued_messages import codes_message, size_of

_JOINED = 25  # frames of codes that one message holds at most, where several wait


class SendQueue:
    """A listener that turns a stream into messages for one client. For the event loop's thread.

    Args:
        receive: the media that the client wants: "pcm", "codes", both, "sealed" or none.
        rate: Hz of the client's sound.
        codec_rate: Hz of the stream's sound.
        live: whether a client that reads too slowly loses the oldest media; otherwise it holds its
            sender back, see `drain`.
        limit: number of queued messages beyond which that happens.
        on_change: called whenever a message is added.
        on_drop: called for every message that is lost.
        on_size: called with the bytes that wait, whenever they have changed by a few thousand.

    Attributes:
        lost: whether messages before the one that was taken last were lost.
    """

    def __init__(
        self,
        receive: tuple[str, ...],
        rate: int,
        codec_rate: int,
        *,
        live: bool,
        limit: int,
        on_change: Callable[[], None] = lambda: None,
        on_drop: Callable[[], None] = lambda: None,
        on_size: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._on_size = on_size
        self._bytes = 0  # queued
        self._told = 0  # bytes that `on_size` was called with
        self.wants_sound = "pcm" in receive
        self.lost = False
        self._wants_codes = not {"codes", "sealed"}.isdisjoint(receive)
        self._rate = rate
        self._live = live
        self._limit = limit
        self._on_change = on_change
        self._taken = Signal()
        self._on_drop = on_drop
        self._resampler = SharedResampler(codec_rate, rate)
        self._samples = 0  # queued so far, at the client's rate
        self._frames = 0  # of codes, queued so far
        self._index = 0  # of the frame whose sound came last
        self._queue: collections.deque[Pcm | Codes | Control] = collections.deque()
        self._numbers = FrameNumbers()
        self._gap = False  # whether media were dropped since the last media message was taken
        self._cleared = 0  # samples dropped from the queue by interruptions, not reported yet
        self._last: End | ProtocolError | None = None

    def on_codes(self, index: int, codes: CodeArray) -> None:
        """Queues a frame's codes, int64 [codebooks]; see Listener."""
        if self._wants_codes and self._last is None:
            self._frames += 1
            if not self._numbers.differ:
                self._put(codes_message(index, codes))
                return
            index, gap = self._numbers.number(Codes, index)
            self._put(Codes(index, codes[:, None], gap=gap))

    def on_silence(self, index: int) -> None:
        """Queues nothing: a client that gets no codes hears silence."""

    def on_audio(self, frame: DecodedFrame) -> None:
        """Queues a frame's sound; see Listener."""
        if not self.wants_sound or self._last is not None:
            return
        self._index = frame.index
        if frame.resamplers is not None:
            self._resampler = frame.resamplers.find(self._resampler, frame.samples, frame.start)
        end = None if frame.length is None else frame.length.at(self._rate)
        self._put_sound(self._resampler.push(frame.samples, frame.start, end))

    def on_end(self, tail: Samples, length: Length) -> None:
        """Queues the rest of the sound, then the end; see Listener."""
        if self._last is None:
            self._put_sound(self._resampler.finish(tail, length.at(self._rate)))
        self.end()

    def on_error(self) -> None:
        """Has `take` raise an error after all that is queued; see Listener."""
        self._finish(protocol_error("internal"))

    def on_interruption(self) -> None:
        """Drops queued media and queues `clear`; see InterruptibleListener."""
        sound = [each for each in self._queue if isinstance(each, Pcm)]
        self._cleared += sum(len(each.samples) for each in sound)
        kept = [each for each in self._queue if isinstance(each, Notice)]
        self._queue = collections.deque(kept)
        self._count(sum(map(size_of, kept)) - self._bytes)
        self._taken.notify()
        self.put_control(Clear())

    def end(self) -> None:
        """Queues the end: nothing more is queued after it."""
        self._finish(End(frames=self._frames, samples=self._samples))

    def put_control(self, message: Control) -> None:
        """Queues a control message in its place among the media."""
        if self._last is None:
            self._put(message)

    def skip(self, index: int, frames: int) -> None:
        """So many frames were left out before the stream's frame `index`; see Listener.

        The client sees a gap there, and frame numbers that count what was left out, too.
        """
        self._numbers.skip(index, frames)

    def unplayed_frames(self, samples: int) -> int:
        """Frames of sound that interruptions dropped, here and by the client.

        Args:
            samples: that the client had received and has dropped.
        """
        dropped = self._cleared + max(0, samples)
        self._cleared = 0
        return -(-dropped // round(self._rate * FRAME_SECONDS))

    def __len__(self) -> int:
        """Number of queued messages."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether nothing waits, not even the end."""
        return not self._queue and self._last is None

    def take(self) -> Pcm | Codes | Control | None:
        """Takes the next message; None: none is queued now. After End there is only End.

        Codes that wait together, because they came together or because the client is slow, are one
        message: on a thin link its headers are most of what a frame takes.

        Raises:
            ProtocolError: internal: the device has failed, and all from before was taken.
        """
        if not self._queue:
            if isinstance(self._last, ProtocolError):
                raise self._last
            return self._last
        message = self._queue.popleft()
        size = size_of(message)
        if self._queue and isinstance(message, Codes):
            following = list(self._pop_following(message))
            size += sum(map(size_of, following))
            if following:
                parts = [message.codes, *(each.codes for each in following)]
                message = msgspec.structs.replace(message, codes=np.concatenate(parts, axis=1))
        self._count(-size)
        self._taken.notify()
        if not self._gap:
            self.lost = False
            return message
        self.lost = isinstance(message, Pcm | Codes)
        if self.lost and isinstance(message, Pcm | Codes):
            message = msgspec.structs.replace(message, gap=True)
            self._gap = False
        return message

    def _pop_following(self, first: Codes) -> Iterator[Codes]:
        """Takes the codes at the front of the queue that go on where `first` ends."""
        frame, last = first.frame + 1, first.frame + _JOINED
        while self._queue and frame < last:
            following = self._queue[0]
            if not isinstance(following, Codes) or following.gap or following.frame != frame:
                return
            self._queue.popleft()
            frame += 1
            yield following

    @property
    def has_room(self) -> bool:
        """Whether the client has read enough to be sent more."""
        return self._live or len(self._queue) < self._limit

    async def drain(self) -> None:
        """Waits until the client has read enough to be sent more; not at all if it is live."""
        await self._taken.wait_for(lambda: self.has_room)

    def save(self) -> SavedSendQueue:
        """Returns the state that lets another server continue.

        Raises:
            HandoverError: the device has failed.
        """
        if isinstance(self._last, ProtocolError):
            raise HandoverError("the session has failed")
        return SavedSendQueue(
            messages=[save_message(each) for each in self._queue],
            resampler=save_resampler(self._resampler.state()),
            origin=self._resampler.origin,
            samples=self._samples,
            frames=self._frames,
            index=self._index,
            gap=self._gap,
            cleared=self._cleared,
            end=None if self._last is None else save_message(self._last).text,
            **self._numbers.save(),
        )

    def load(self, saved: SavedSendQueue) -> None:
        """Goes on as the queue of another server, before anything was queued here.

        Raises:
            HandoverError: it does not fit.
        """
        self._resampler.load(saved.origin, resampler_state(saved.resampler))
        self._queue = collections.deque(map(load_message, saved.messages))
        self._count(sum(map(size_of, self._queue)) - self._bytes)
        self._samples, self._frames = saved.samples, saved.frames
        self._index = saved.index
        self._numbers.load(saved)
        self._gap, self._cleared = saved.gap, saved.cleared
        if saved.end is not None:
            end = load_message(SavedMessage(text=saved.end))
            if not isinstance(end, End):
                raise HandoverError("the end of a session is none")
            self._last = end
        self._on_change()

    def _put_sound(self, samples: Pcm16) -> None:
        if len(samples):
            self._samples += len(samples)
            index, gap = self._numbers.number(Pcm, self._index)
            self._put(Pcm(index, samples, gap=gap))

    def _put(self, message: Pcm | Codes | Control) -> None:
        if self._live and len(self._queue) >= self._limit:
            self._drop()
        self._queue.append(message)
        self._count(size_of(message))
        self._on_change()

    def _drop(self) -> None:
        """Drops the oldest media message, or the oldest message if there is no media."""
        media = (i for i, each in enumerate(self._queue) if isinstance(each, Pcm | Codes))
        oldest = next(media, None)
        self._count(-size_of(self._queue[oldest or 0]))
        del self._queue[oldest or 0]
        if oldest is not None:
            self._on_drop()
            self._gap = True

    def _count(self, grown: int) -> None:
        self._bytes += grown
        if abs(self._bytes - self._told) >= TOLD_STEP:
            self._told = self._bytes
            self._on_size(self._bytes)

    def _finish(self, last: End | ProtocolError) -> None:
        self._last = last
        self._on_change()
