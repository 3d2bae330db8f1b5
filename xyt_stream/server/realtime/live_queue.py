"""Queues the sound of a microphone, and says whether the first of it comes too late."""

from __future__ import annotations

import collections
from dataclasses import dataclass

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE, Samples
from xyt_stream.server.realtime.sample_queue import SampleQueue
from xyt_stream.server.sessions.lateness import Lateness

_LIVE = 2.0  # times real time; sound that arrived faster was not sent live


@dataclass(frozen=True)
class _Arrival:
    """Some sound, of a frame at least if more has arrived.

    Attributes:
        start: number of samples that arrived before it.
        at: seconds of the clock of Lateness.
        due: see Lateness.
    """

    start: int
    at: float
    due: float


class LiveQueue:
    """A queue of samples that remembers when they arrived. For the event loop's thread.

    Args:
        lateness: of the session; None: no sound is too late.
    """

    def __init__(self, lateness: Lateness | None) -> None:
        self._samples = SampleQueue()
        self._lateness = lateness
        self._arrivals: collections.deque[_Arrival] = collections.deque()
        self._taken = 0  # samples
        self._last_at = 0.0  # of the clock; when the last sound arrived

    def __len__(self) -> int:
        """Number of queued samples."""
        return len(self._samples)

    def push(self, samples: Samples) -> None:
        """Adds float32 [n]."""
        if self._lateness is not None and len(samples):
            due = self._lateness.arrived(len(samples) / INPUT_RATE, first=not len(self))
            start, self._last_at = self._taken + len(self), self._lateness.clock()
            # Tiny chunks share an entry, so that they cost no memory.
            if not self._arrivals or start - self._arrivals[-1].start >= FRAME_SAMPLES:
                self._arrivals.append(_Arrival(start, self._last_at, due))
        self._samples.push(samples)

    def pop(self) -> Samples:
        """Takes the first frame, float32 [1280], or all samples if there are fewer."""
        samples = self._samples.pop()
        self._forget(len(samples))
        return samples

    def clear(self) -> int:
        """Drops all samples; returns how many there were."""
        dropped = self._samples.clear()
        self._forget(dropped)
        return dropped

    @property
    def is_late(self) -> bool:
        """Whether the first sample is too late to be heard.

        Only live sound is: a file that was sent at once may take as long as it needs.
        """
        if self._lateness is None or not self._arrivals:
            return False
        first = self._arrivals[0]
        sent_live = len(self) / INPUT_RATE < _LIVE * (self._last_at - first.at)
        due = first.due + (self._taken - first.start) / INPUT_RATE
        return sent_live and self._lateness.is_too_late(due)

    def _forget(self, taken: int) -> None:
        """Counts samples that have left the queue, and drops the entries of those."""
        self._taken += taken
        if not len(self):
            self._arrivals.clear()
        while len(self._arrivals) > 1 and self._arrivals[1].start <= self._taken:
            self._arrivals.popleft()
