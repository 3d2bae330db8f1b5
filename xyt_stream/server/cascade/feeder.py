"""Passes the frames of a mic or a voice at another node on to the members of a room, in order."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.errors import HandoverError, ProtocolError
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.roles import Voice
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.engine.slot_stream import Length
from xyt_stream.server.sessions.room import Room

_MOST_WAITING = 256  # items, beyond which the frames that wait are left out
_MOST_FRAMES = 1 << 32  # of a stream, as in clients' messages
_BUSY_WAIT = 0.05  # seconds until members that want sound, for which no slot is free, have left


@dataclass(frozen=True)
class Codes:
    """A frame: its index and its codes, int64 [codebooks]; None: it is silent."""

    index: int
    codes: CodeArray | None


@dataclass(frozen=True)
class Skip:
    """The other node left out so many frames before frame `index`, and did not count them."""

    index: int
    frames: int


@dataclass(frozen=True)
class Lost:
    """So many frames, from `index` on, did not come here."""

    index: int
    frames: int


_Item: TypeAlias = Codes | Skip | Lost | Length


class Feeder:
    """Holds a stream that a room gets from another node. For the event loop's thread.

    Args:
        engine: decodes it for members that want sound.
        silence: codes of a silent frame, int64 [codebooks].
        room: of the members.
        voice: "user" for a mic.
        on_lost: called with the number of frames that are left out.
        on_busy: called if no slot is free to decode; members that want sound are to leave.
        on_over: called once the members have the end of the stream, and `over` is True.

    Attributes:
        stream: id of the session of the mic or the user; None before the first.
        next: index of the first frame that the members were not passed; None before the first.
        over: whether the members have the end of the stream.
    """

    def __init__(
        self,
        engine: SlotEngine,
        silence: CodeArray,
        room: Room,
        voice: Voice,
        *,
        on_lost: Callable[[int], None],
        on_busy: Callable[[ProtocolError], None],
        on_over: Callable[[], None],
    ) -> None:
        self.stream: str | None = None
        self.next: int | None = None
        self.over = False
        self._engine = engine
        self._silence = silence
        self._room = room
        self._voice: Voice = voice
        self._is_conversation = False
        self._ended = False  # whether the stream's end has come
        self._skipped = 0  # frames that the other node left out
        self._on_lost = on_lost
        self._on_busy = on_busy
        self._on_over = on_over
        self._expected: int | None = None  # index of the frame that comes next
        self._lag = 0  # frames of the stream that did not come here
        self._waiting: collections.deque[_Item] = collections.deque()
        self._changed = Signal()
        self._task: asyncio.Task[None] | None = None

    def start(self, stream: str, index: int | None = None, *, is_conversation: bool) -> None:
        """Goes on with a stream, or begins one: with its frame `index`, or with any."""
        if stream != self.stream:
            self.reset()
            self.stream, self.next, self._expected = stream, index, index
            self._is_conversation = is_conversation
        if self._task is None and not self.over:
            self._task = asyncio.create_task(self._run())

    @property
    def expected(self) -> int | None:
        """Index of the frame that is to come; None: any."""
        return self._expected

    def stop(self) -> None:
        """Passes on nothing more; what waits is forgotten, and must come again."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._waiting.clear()
        self._expected, self._ended = self.next, self.over

    def reset(self) -> None:
        """Closes the stream without an end: the next one is another."""
        self.stop()
        self.stream = self.next = self._expected = None
        self._lag = self._skipped = 0
        self._ended = self.over = False
        if (fed := self._room.fed.pop(self._voice, None)) is not None:
            fed.close()

    def put(self, item: _Item) -> None:
        """Takes the stream's next item.

        Frames that were taken before are ignored, and so is all after the end.

        Raises:
            HandoverError: with what was left out there are more frames than clients can count.
        """
        if self._ended:
            return
        if isinstance(item, Skip):
            self._skipped += item.frames
        if isinstance(item, Codes | Skip) and item.index + self._skipped >= _MOST_FRAMES:
            raise HandoverError("a stream of the other node has too many frames")
        if isinstance(item, Codes):
            expected = self._expected
            if expected is not None and item.index < expected:
                return
            if expected is not None and item.index > expected:
                self._append(Lost(expected, item.index - expected))
                self._on_lost(item.index - expected)
            self._expected = item.index + 1
        self._ended = isinstance(item, Length)
        self._append(item)

    def interrupt(self) -> None:
        """Drops the speech so far that the members have not played."""
        for place, item in enumerate(self._waiting):
            if isinstance(item, Codes):
                self._waiting[place] = Codes(item.index, None)
        fed = self._room.fed.get(self._voice)
        if fed is not None and self.next is not None:
            fed.interrupt(self.next - self._lag)
        else:
            self._room.interrupt_listeners(self._voice)

    async def settle(self, index: int, seconds: float) -> None:
        """Waits until the members have all frames before `index`, at most so many seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.next is not None and self.next < index:
            if (left := deadline - loop.time()) <= 0:
                return
            await self._changed.wait(left)

    def _append(self, item: _Item) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            frames = [each for each in self._waiting if isinstance(each, Codes)]
            others = [each for each in self._waiting if not isinstance(each, Codes)]
            self._waiting = collections.deque(others)
            if frames:
                self._waiting.append(Lost(frames[0].index, len(frames)))
                self._on_lost(len(frames))
        self._waiting.append(item)
        self._changed.notify()

    async def _run(self) -> None:
        while True:
            await self._changed.wait_for(lambda: bool(self._waiting))
            await self._pass_on(self._waiting[0])
            self._changed.notify()

    async def _pass_on(self, item: _Item) -> None:
        """Passes an item on and takes it away, with nothing in between that may be cancelled."""
        fed = self._room.fed.get(self._voice)
        if isinstance(item, Codes):
            if fed is None:
                assert self.stream is not None
                try:
                    first = item.index - self._lag
                    fed = self._room.open_fed(
                        self._engine,
                        self._silence,
                        self._voice,
                        self.stream,
                        first,
                        is_conversation=self._is_conversation,
                        on_over=self._changed.notify,
                    )
                except ProtocolError as error:
                    self._on_busy(error)
                    await asyncio.sleep(_BUSY_WAIT)
                    return
            await fed.drain()
            if not self._waiting or self._waiting[0] is not item:
                return  # it was left out, or its speech was dropped
            fed.push_nowait(item.codes)
            self.next = item.index + 1
        elif isinstance(item, Skip) and fed is not None:
            fed.skip(item.index - self._lag, item.frames)
        elif isinstance(item, Lost) and fed is not None:
            fed.skip(item.index - self._lag, item.frames)
            self._lag += item.frames
        elif isinstance(item, Length):
            await self._end(item)
            return
        self._waiting.popleft()

    async def _end(self, length: Length) -> None:
        fed = self._room.fed.get(self._voice)
        if fed is not None:
            lag = round(self._lag * FRAME_SECONDS * length.rate)
            fed.end_codes(Length(max(0, length.samples - lag), length.rate))
            # The next stream must not begin before the members have the rest of this one.
            await self._changed.wait_for(lambda: self._voice not in self._room.fed)
        else:
            self._room.end_listeners(self._voice, is_conversation=self._is_conversation)
        self.over = True
        self._waiting.clear()
        self._on_over()
