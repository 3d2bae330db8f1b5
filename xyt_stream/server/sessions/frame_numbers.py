"""Numbers the frames of a stream for one client, where some were left out."""

from __future__ import annotations

import collections
from typing import TypedDict

from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.server.saved import SavedSendQueue

_SKIPS = 64  # more than fit between what is pushed into a stream and what comes out of it


class SavedNumbers(TypedDict):
    """The fields of SavedSendQueue that the numbers fill."""

    skips: list[tuple[int, int]]
    skipped: int
    skipped_before: tuple[int, int]


class FrameNumbers:
    """The frames that were left out of a stream, and how its client counts. For one thread.

    Attributes:
        differ: whether any were: otherwise the client counts as the stream does.
    """

    def __init__(self) -> None:
        self.differ = False
        # Each with the index of the stream's frame before which it is, and its length in frames.
        self._skips: collections.deque[tuple[int, int]] = collections.deque()
        self._skipped = 0  # frames of skips that are no longer in there
        # Frames that were skipped before the latest message of each kind.
        self._before: dict[type[Pcm | Codes], int] = {Pcm: 0, Codes: 0}

    def skip(self, index: int, frames: int) -> None:
        """So many frames were left out before the stream's frame `index`."""
        if not frames:
            return
        self.differ = True
        if self._skips and self._skips[-1][0] == index:
            frames += self._skips.pop()[1]
        self._skips.append((index, frames))
        if len(self._skips) > _SKIPS:
            self._skipped += self._skips.popleft()[1]

    def number(self, kind: type[Pcm | Codes], index: int) -> tuple[int, bool]:
        """The client's number of a frame of the stream, and whether a gap is before it.

        Args:
            kind: of the message that holds the frame.
            index: of the frame in the stream.
        """
        before = self._skipped
        if self._skips:
            before += sum(frames for first, frames in self._skips if first <= index)
        gap = before != self._before[kind]
        self._before[kind] = before
        return index + before, gap

    def save(self) -> SavedNumbers:
        """Returns the state that lets another server continue."""
        return SavedNumbers(
            skips=list(self._skips),
            skipped=self._skipped,
            skipped_before=(self._before[Pcm], self._before[Codes]),
        )

    def load(self, saved: SavedSendQueue) -> None:
        """Goes on as the numbers of another server."""
        self._skips = collections.deque(saved.skips)
        self._skipped = saved.skipped
        self.differ = bool(saved.skips or saved.skipped)
        self._before = dict(zip((Pcm, Codes), saved.skipped_before, strict=True))
