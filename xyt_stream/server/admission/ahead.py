"""Shares the event loop among sessions whose sound is ahead of real time.

Looking for speech in a frame takes a millisecond of the loop. A few sessions that send faster than
real time would take all of it, and delay everybody's steps and messages; so these get a share of
the loop together, one frame at a time, and in between the loop sleeps unless there is other work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from xyt_stream.server.admission.loop_share import LoopShare

SHARE = 0.15  # of the loop's time for all sessions whose sound is ahead
AHEAD = 0.4  # seconds that the sound of a session in real time may be ahead: chunks are long
BEHIND = 1.0  # seconds that a session may catch up after its sound was held up
PACE = 0.9  # seconds that a second of sound counts: clients' clocks differ


class Headway:
    """Says how far a session's sound is ahead of real time. For the event loop's thread.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = clock()  # time of the next sound in real time

    @property
    def seconds(self) -> float:
        """Seconds from now until the next sound is in real time; 0: it is."""
        return max(0.0, self._due - self._clock() - AHEAD)

    def add(self, seconds: float) -> None:
        """So many seconds of sound are taken."""
        self._due = max(self._due, self._clock() - BEHIND) + PACE * seconds


class AheadTurns(LoopShare):
    """Gives sessions that are ahead of real time turns in their order. For the event loop's thread.

    Args:
        clock: seconds, monotonic.
        share: of the loop's time for all of them.

    Attributes:
        in_time: held by a session in real time while it looks for speech in a frame: eight of them
            would keep the loop for twelve milliseconds at once.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, *, share: float = SHARE
    ) -> None:
        super().__init__(clock, share)
        self.in_time = asyncio.Lock()
        self._waiting: dict[asyncio.Future[None], None] = {}  # in their order

    @property
    def waiting(self) -> int:
        """Number of sessions that wait for a turn."""
        return len(self._waiting)

    async def wait(self, seconds: float) -> None:
        """Waits for the caller's turn, at most so many seconds: then its sound is in real time."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting[turn] = None
        timer = loop.call_later(seconds, self._give, turn)
        self._schedule()
        try:
            await turn
        finally:
            timer.cancel()
            self._waiting.pop(turn, None)

    def _give(self, turn: asyncio.Future[None]) -> None:
        self._waiting.pop(turn, None)
        if not turn.done():
            turn.set_result(None)

    def _take_turn(self, now: float) -> None:
        # The next turn is scheduled after this one, but runs behind the session, which charges it.
        self._give(next(iter(self._waiting)))
