"""Decides which of the frames that wait a step takes, in arrays without a loop over slots.

Streams in real time come first: a stream that is ahead of real time, a file for example, waits
while any of them has a frame, and otherwise shares its steps with few others; the engine rests
between those. And of streams that have just begun, few are in one step, so that many that begin at
once lengthen nobody's steps; no step of such streams alone begins when an older one's frame is
about to come, which would wait for its end.
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
NEW = 0.3  # seconds after its first frame that a stream counts as one that has just begun
ROWS_NEW = 2  # rows of a step of such streams, while others run in real time
SHARE_NEW = 3  # a third of those that wait, if that is more: very many small steps take too long


class Scheduler:
    """Chooses the slots of each step. Not thread-safe: the engine holds a lock.

    Args:
        open: whether a slot has an owner, bool [count]; like the others, Slots keeps it up to date.
        ending: whether a slot's input has ended, bool [count].
        written: frames put into a slot's ring since it was opened, int64 [count].
        taken: how many of those were taken, int64 [count].
    """

    def __init__(self, *, open: Mask, ending: Mask, written: Ints, taken: Ints) -> None:
        self._open = open
        self._ending = ending
        self._written = written
        self._taken = taken
        self._first_push = np.zeros(len(open))
        self._last_push = np.zeros(len(open))
        self._due = np.zeros(len(open))  # time of the next frame in real time

    def pushed(self, slot: int, now: float) -> None:
        """A frame comes into a slot; call it before the frame is counted in `written`."""
        self._last_push[slot] = now
        if not self._written[slot]:
            self._first_push[slot] = self._due[slot] = now
        self._due[slot] = max(self._due[slot], now - BEHIND)

    def stepped(self, slots: Ints, stepped: Mask) -> None:
        """A step takes a frame of the masked slots."""
        self._due[slots] += stepped * (PACE * FRAME_SECONDS)

    def expected(self, after: float, before: float, *, since: float = np.inf) -> bool:
        """Whether an idle slot is due for a frame: its last one came between these two times.

        Only streams count whose first frame came before `since`.
        """
        idle = (self._written == self._taken) & self._open & (self._written > 0) & ~self._ending
        idle &= self._first_push < since
        return bool((idle & (self._last_push > after) & (self._last_push < before)).any())

    def gives_way(self, now: float) -> bool:
        """Whether all frames that wait are ahead of real time, or of streams that have just begun.

        Such a step may wait for an older stream's frame that is about to come.
        """
        ready = self._open & (self._written > self._taken)
        older = ready & (self._due <= now + AHEAD) & (self._first_push <= now - NEW)
        return not (older | self._ending).any()

    def only_ahead(self, now: float) -> bool:
        """Whether all frames that wait are ahead of real time, and other streams are in it."""
        ready = self._open & (self._written > self._taken)
        due = ready & (self._due <= now + AHEAD)
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
            return _first(ready, due, ROWS_AHEAD) if self._runs_in_time(now) else ready
        new = in_time & (self._first_push[slots] > now - NEW)
        count = np.count_nonzero(new)
        few = max(ROWS_NEW, count // SHARE_NEW)
        if count > few and self._runs_in_time(now, since=now - NEW):
            return in_time & ~new | _first(new, due, few)
        return in_time

    def _runs_in_time(self, now: float, *, since: float = np.inf) -> bool:
        """Whether a stream in real time, begun before `since`, will have a frame soon."""
        lately = (self._last_push > now - 2 * FRAME_SECONDS) & (self._first_push <= since)
        return bool((self._open & ~self._ending & lately & (self._due <= now + AHEAD)).any())


def _first(rows: Mask, due: npt.NDArray[np.float64], count: int) -> Mask:
    """So many of the masked rows, those that are due first."""
    first = np.argsort(np.where(rows, due, np.inf))[:count]
    chosen = np.zeros_like(rows)
    chosen[first] = rows[first]
    return chosen
