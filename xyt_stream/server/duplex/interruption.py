"""Where a model was cut off, and how much of what it said was really heard."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from xyt_stream.protocol.messages import Cleared

_ANSWER_TIME = 1.0  # seconds that a user has to say what it did not play


@dataclass(frozen=True)
class Cutoff:
    """Where the model was cut off.

    Attributes:
        frame: of the clock; nothing of what was dropped is heard from there on.
        played: frames of the model's that were heard, in all.
        dropped: frames of the model's that never will be.
        passed: frames of the clock that were heard.
        spoken: the latest of them in which the model spoke.
    """

    frame: int
    played: int
    dropped: int
    passed: int
    spoken: tuple[int, ...]

    def unheard(self, frames: int) -> Cutoff:
        """The same, the latest frames of the clock not having been played to the user's ear."""
        lost = sum(index >= self.passed - frames for index in self.spoken)
        return dataclasses.replace(self, played=self.played - lost, dropped=self.dropped + lost)


class Cutoffs:
    """Those of which the model was not told yet, because the user has not said what it played."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Cutoff, Callable[[Cleared], None]]] = []

    @property
    def last(self) -> Cutoff | None:
        return self._waiting[-1][0] if self._waiting else None

    def add(self, cutoff: Cutoff, tell: Callable[[Cleared], None]) -> None:
        """`tell` will be told, soon."""
        entry = (cutoff, tell)
        self._waiting.append(entry)
        asyncio.get_running_loop().call_later(_ANSWER_TIME, self._settle, entry, 0)

    def answered(self, unheard: int) -> None:
        """The user had not heard so many frames of the clock that had reached it."""
        if self._waiting:
            self._settle(self._waiting[0], unheard)

    def _settle(self, entry: tuple[Cutoff, Callable[[Cleared], None]], unheard: int) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
            cutoff, tell = entry
            told = cutoff.unheard(unheard)
            tell(Cleared(frame=told.frame, played=told.played, dropped=told.dropped))
