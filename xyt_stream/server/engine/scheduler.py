"""Decides which of the frames that wait a step takes, in arrays without a loop over slots.

Streams in real time come first: a stream that is ahead of real time, a file for example, waits
while any of them has a frame, and otherwise shares its steps with few others; the engine rests
between those. Two kinds of streams give way even where their frames are due: those that have just
begun, and those whose clients send faster than real time. Few of them are in one step, so that many
lengthen nobody's steps; no step of them alone begins when another stream's frame is about to come,
which would wait for its end. And where a step of many rows takes as long as two steps of few, it
takes few, of the streams that began first: when all are too many, the newest fall behind, as they
are the ones that are ended then, and the others keep their time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.server.engine.work import Ints, Mask

AHEAD = FRAME_SECONDS  # that a stream in real time may be ahead
PACE = 0.9  # seconds that a second of sound counts: so that a late first frame is soon forgotten
BEHIND = 0.5  # seconds that a stream may catch up after its frames were held up
ROWS_AHEAD = 2  # rows of a step of streams that are ahead, while others run in real time
LATE = 0.008  # seconds that a frame may be late and is still expected
NEW = 0.3  # seconds after its first frame that a stream counts as one that has just begun
HASTY = 0.4  # seconds that the sound a client has sent may be ahead of real time: chunks are long
BACKLOG = 4  # frames that may wait in a slot; the ring of a client held back is always full
ROWS_GIVING_WAY = 2  # rows of a step of streams that give way, while others run in real time
SHARE_GIVING_WAY = 3  # a third of those that wait, if that is more: very many small steps are long


class Scheduler:
    """Chooses the slots of each step. Not thread-safe: the engine holds a lock.

    Args:
        open: whether a slot has an owner, bool [count]; like the others, Slots keeps it up to date.
        ending: whether a slot's input has ended, bool [count].
        written: frames put into a slot's ring since it was opened, int64 [count].
        taken: how many of those were taken, int64 [count].
        most: rows that a step takes at most.
    """

    def __init__(self, *, open: Mask, ending: Mask, written: Ints, taken: Ints, most: int) -> None:
        self._open = open
        self._ending = ending
        self._written = written
        self._taken = taken
        self._most = most
        self._first_push = np.zeros(len(open))
        self._last_push = np.zeros(len(open))
        self._due = np.zeros(len(open))  # time in real time of the next frame to be taken
        self._next = np.zeros(len(open))  # the same of the next frame to come

    def pushed(self, slot: int, now: float) -> None:
        """A frame comes into a slot; call it before the frame is counted in `written`."""
        self._last_push[slot] = now
        if not self._written[slot]:
            self._first_push[slot] = self._due[slot] = self._next[slot] = now
        self._due[slot] = max(self._due[slot], now - BEHIND)
        self._next[slot] = max(self._next[slot], now - BEHIND) + PACE * FRAME_SECONDS

    def stepped(self, slots: Ints, stepped: Mask) -> None:
        """A step takes a frame of the masked slots."""
        self._due[slots] += stepped * (PACE * FRAME_SECONDS)

    @property
    def full(self) -> bool:
        """Whether so many frames wait that a step cannot take more."""
        return int(np.count_nonzero(self._ready)) >= self._most

    def expected(self, now: float, until: float) -> bool:
        """Whether an idle slot's next frame is about to come before `until`, or a little late.

        Streams that give way do not count: nobody waits for them.
        """
        idle = self._open & (self._written == self._taken) & (self._written > 0) & ~self._ending
        next_push = self._last_push + FRAME_SECONDS
        soon = (next_push > now - LATE) & (next_push < until)
        return bool((idle & soon & ~self._gives_way(now)).any())

    def gives_way(self, now: float) -> bool:
        """Whether all frames that wait are ahead of real time, or of streams that give way.

        Such a step may wait for another stream's frame that is about to come.
        """
        calm = self._ready & (self._due <= now + AHEAD) & ~self._gives_way(now)
        return not (calm | self._ending).any()

    def only_ahead(self, now: float) -> bool:
        """Whether all frames that wait are ahead of real time, and other streams are in it."""
        due = self._ready & (self._due <= now + AHEAD)
        return not (due | self._ending).any() and self._runs_in_time(now)

    def choose(self, slots: Ints, ready: Mask, now: float) -> Mask:
        """The rows that a step takes, out of those that are ready; see the top of this file.

        Args:
            slots: the slot in each row, int64 [rows].
            ready: whether a frame waits in it, bool [rows].
            now: seconds of the caller's clock.
        """
        due = self._due[slots]
        in_time = ready & (due <= now + AHEAD)
        if not in_time.any():
            few = ROWS_AHEAD if self._runs_in_time(now) else self._most
            return _first(ready, due, min(few, self._most))
        giving_way = in_time & self._gives_way(now)[slots]
        count = few = int(np.count_nonzero(giving_way))
        if count and self._runs_in_time(now, calm=True):
            few = max(ROWS_GIVING_WAY, count // SHARE_GIVING_WAY)
        calm = _first(in_time & ~giving_way, self._first_push[slots], self._most)
        return calm | _first(giving_way, due, min(few, self._most - int(np.count_nonzero(calm))))

    @property
    def _ready(self) -> Mask:
        """Whether a frame waits in a slot, bool [count]."""
        return self._open & (self._written > self._taken)

    def _gives_way(self, now: float) -> Mask:
        """Whether a slot's stream has just begun or comes faster than real time, bool [count]."""
        new = self._first_push > now - NEW
        return new | (self._next > now + HASTY) | (self._written - self._taken > BACKLOG)

    def _runs_in_time(self, now: float, *, calm: bool = False) -> bool:
        """Whether a stream in real time, one that does not give way if `calm`, has frames soon."""
        lately = self._open & ~self._ending & (self._last_push > now - 2 * FRAME_SECONDS)
        if calm:
            lately &= ~self._gives_way(now)
        return bool((lately & (self._due <= now + AHEAD)).any())


def _first(rows: Mask, times: npt.NDArray[np.float64], count: int) -> Mask:
    """So many of the masked rows, those with the earliest times."""
    if np.count_nonzero(rows) <= count:
        return rows
    first = np.argsort(np.where(rows, times, np.inf))[:count]
    chosen = np.zeros_like(rows)
    chosen[first] = rows[first]
    return chosen
