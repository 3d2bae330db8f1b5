"""Measures how late the server is with a client's media, against real time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_LATE = 1.0  # seconds that media wait in the server before the oldest are dropped
_ENOUGH = 0.5  # seconds of waiting at which dropping stops: one long gap disturbs less than many


class Lateness:
    """Decides which media of one client are too late. For the event loop's thread.

    Media are due when they arrive. A client may send faster than real time: each message is then
    due when the one before it has been played.

    Args:
        clock: seconds, monotonic.

    Attributes:
        clock: the same.
        dropping: whether media are dropped until the server has caught up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._held = 0.0  # seconds in which the server waited for the client
        self._held_since: float | None = None
        self._next_due = self.now
        self.dropping = False

    @property
    def now(self) -> float:
        """The clock, without the time in which the server waited for the client."""
        now = self.clock() if self._held_since is None else self._held_since
        return now - self._held

    @contextmanager
    def holding(self) -> Iterator[None]:
        """The server waits for the client while the block runs: that is not late."""
        self._held_since = self.clock()
        try:
            yield
        finally:
            self._held += self.clock() - self._held_since
            self._held_since = None

    def arrived(self, seconds: float, *, first: bool) -> float:
        """Media of so many seconds have arrived; returns when they are due, for `is_too_late`.

        Args:
            seconds: of the media.
            first: whether no other media wait.
        """
        due = self.now if first else max(self._next_due, self.now)
        self._next_due = due + seconds
        return due

    def is_too_late(self, due: float) -> bool:
        """Whether the media that are taken in next are too late to be heard."""
        late = self.now - due
        self.dropping = late > (_ENOUGH if self.dropping else MAX_LATE)
        return self.dropping
