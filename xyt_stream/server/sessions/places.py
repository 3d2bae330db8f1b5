"""Keeps places in rooms for speakers whose websocket is open and whose hello has not come yet."""

from __future__ import annotations

import collections
import time

_KEPT = 10.0  # seconds that a place is kept


class Places:
    """Places by the room's name, also of rooms that have no member yet. For one thread."""

    def __init__(self) -> None:
        self._kept: dict[str, collections.deque[float]] = {}
        self._names: collections.deque[str] = collections.deque()  # in the order of `keep`

    def keep(self, name: str) -> None:
        """Keeps a place in a room."""
        self._kept.setdefault(name, collections.deque()).append(time.monotonic())
        self._names.append(name)

    def use(self, name: str) -> None:
        """A speaker has come, or will not: its place is not kept any more."""
        kept = self._kept.get(name)
        if kept:
            kept.popleft()

    def count(self, name: str) -> int:
        """Number of places that are kept in a room."""
        self._forget_old()
        return len(self._kept.get(name, ()))

    def _forget_old(self) -> None:
        oldest = time.monotonic() - _KEPT
        while self._names:
            name = self._names[0]
            kept = self._kept.get(name)
            if kept and kept[0] >= oldest:
                return
            if kept:
                kept.popleft()
            if not kept:
                self._kept.pop(name, None)
            self._names.popleft()
