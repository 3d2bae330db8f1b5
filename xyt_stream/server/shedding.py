"""Measures a server's load, and ends the sessions that do not fit."""

from __future__ import annotations

from collections.abc import Sequence

from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.server import log
from xyt_stream.server.duplex.runner import DuplexRunner
from xyt_stream.server.engine.engine import BUSY_RETRY
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.sessions.resources import AnySession

_SHED_AFTER = 5  # overloaded checks in a row after which the newest sessions are ended


class Shedding:
    """Measures one server's load and ends sessions beyond it. For the event loop's thread.

    Args:
        limit: load beyond which the server is overloaded; 0: none.
        engine: steps the codec.
        runner: steps the model of `--duplex`, if there is one.
    """

    def __init__(self, limit: float, engine: SlotEngine, runner: DuplexRunner | None) -> None:
        self._limit = limit
        self._engine = engine
        self._runner = runner
        self._overloaded = 0  # checks in a row

    @property
    def load(self) -> float:
        """Share of real time that a step takes, of the codec or of the model, as sessions feel it.

        From 1 on, their sound comes later and later.
        """
        model = 0.0 if self._runner is None else self._runner.load.share
        return max(self._engine.timings.load.share, model)

    @property
    def overloaded(self) -> bool:
        """Whether the load was beyond the limit at the last check."""
        return self._overloaded > 0

    def check(self, sessions: Sequence[AnySession]) -> None:
        """Ends sessions if the load lasts. Call it each second.

        Args:
            sessions: all of the server, oldest first.
        """
        beyond = 0 < self._limit < self.load
        self._overloaded = self._overloaded + 1 if beyond else 0
        if self._overloaded >= _SHED_AFTER:
            self._shed(sessions)

    def _shed(self, sessions: Sequence[AnySession]) -> None:
        """Ends the newest sessions, so that the oldest ones fit, of those that cause the load.

        One of them always stays; it loses sound, see Lateness.
        """
        causes = [session for session in sessions if session.sends]
        if self._runner is not None and self._runner.load.share == self.load:
            talking = set(self._runner.conversations)
            causes = [session for session in causes if session.id in talking]
        fitting = max(1, int(len(causes) * self._limit / self.load))
        error = protocol_error("busy", "The server is overloaded.", retry_after=BUSY_RETRY)
        for session in causes[fitting:]:
            session.abort(error)
            self._overloaded = 1
            log.event("shed", session=session.id, load=round(self.load, 2))
