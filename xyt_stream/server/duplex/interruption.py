"""Computes how much of a model's speech was heard when the user interrupted it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from xyt_stream.protocol.messages import Cleared

REPORT_TIMEOUT = 1.0  # seconds that the client has to report what it did not play


@dataclass(frozen=True)
class Interruption:
    """The point at which the model was interrupted.

    Attributes:
        frame: of the conversation's clock; from it on, nothing of the dropped speech is heard.
        played: the model's frames that were heard, in all.
        dropped: the model's frames that will never be heard.
        heard: frames of the clock that were heard.
        speaking: indices of the latest heard frames in which the model spoke.
    """

    frame: int
    played: int
    dropped: int
    heard: int
    speaking: tuple[int, ...]

    def without_last(self, frames: int) -> Interruption:
        """The same, if the client did not play the last `frames` frames of the clock."""
        lost = sum(index >= self.heard - frames for index in self.speaking)
        return dataclasses.replace(self, played=self.played - lost, dropped=self.dropped + lost)


class PendingInterruptions:
    """Interruptions whose playback position the client has not reported yet.

    For the event loop's thread.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Interruption, Callable[[Cleared], None]]] = []

    @property
    def last(self) -> Interruption | None:
        """The newest one; None if none waits."""
        return self._waiting[-1][0] if self._waiting else None

    @property
    def waiting(self) -> list[Interruption]:
        """All of them, oldest first."""
        return [interruption for interruption, _ in self._waiting]

    def add(self, interruption: Interruption, send: Callable[[Cleared], None]) -> None:
        """Calls `send` with the result at the client's report, or after REPORT_TIMEOUT."""
        entry = (interruption, send)
        self._waiting.append(entry)
        asyncio.get_running_loop().call_later(REPORT_TIMEOUT, self._settle, entry, 0)

    def report(self, unplayed: int) -> None:
        """The client did not play the last `unplayed` frames; settles the oldest interruption."""
        if self._waiting:
            self._settle(self._waiting[0], unplayed)

    def _settle(self, entry: tuple[Interruption, Callable[[Cleared], None]], unplayed: int) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
            interruption, send = entry
            final = interruption.without_last(unplayed)
            send(Cleared(frame=final.frame, played=final.played, dropped=final.dropped))
