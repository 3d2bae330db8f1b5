"""Says in which share of the event loop a connection is read, and charges its work there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from xyt_stream.server.admission.budget import Budget
from xyt_stream.server.admission.turns import Turns

_NEW = 1.0  # seconds after a session has taken it that a connection still counts as new


@dataclass(frozen=True)
class ReadingTurns:
    """The turns in which a server's connections are read that cannot be read at once.

    Attributes:
        calm: of sessions that send little; nothing is charged to it.
        floods: of sessions that send more.
        newcomers: of connections that no session has taken.
    """

    calm: Turns
    floods: Turns
    newcomers: Turns


class Standing:
    """Says whether a connection is new, calm or a flood, and charges its work.

    For the event loop's thread.

    Args:
        turns: of the server.
        budget: of the connection.
        clock: seconds, monotonic.

    Attributes:
        is_new: whether no session has taken the connection.
    """

    def __init__(
        self, turns: ReadingTurns, budget: Budget, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._all = turns
        self._budget = budget
        self._clock = clock
        self._new_until = 0.0  # once a session has taken it
        self.is_new = True

    def take(self) -> None:
        """A session has taken the connection."""
        self.is_new = False
        self._new_until = self._clock() + _NEW

    @property
    def turns(self) -> Turns:
        """The turns that the connection's reading takes from now on."""
        if self.is_new:
            return self._all.newcomers
        return self._all.calm if self._budget.calm else self._all.floods

    @property
    def reads_at_once(self) -> bool:
        """Whether the connection's bytes are parsed as they come, and not in turn with others."""
        return self._budget.calm and (not self.is_new or self.newcomers_idle)

    @property
    def newcomers_idle(self) -> bool:
        """Whether no other connection without a session waits."""
        return self._all.newcomers.idle

    def answered(self, seconds: float) -> None:
        """Charges processor time of reading or writing: that of a flood's answers is the flood's.

        A flood in a new session counts in both shares: the next turn of its own must wait, too.
        """
        self.opened(seconds)
        if not self._budget.calm and not self.is_new:
            self._all.floods.charge(seconds)

    def opened(self, seconds: float) -> None:
        """Charges processor time of the handshake, of a page, or of opening a session.

        A session that is resumed is sent all that was kept for it, a megabyte each time; so its
        first second counts, too.
        """
        if self.is_new or self._clock() < self._new_until:
            self._all.newcomers.charge(seconds)
