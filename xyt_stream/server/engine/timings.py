"""Keeps the durations of the engine's latest steps and answers."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable

import numpy as np

from xyt_stream.protocol.messages import CodingTimes, StepTimes
from xyt_stream.server.engine.load import Load

_STEPS = 1024  # durations behind `step_ms`
_ANSWERS = 4096  # durations behind `answer_ms`
_RECENT = 16  # steps behind `coding_ms` and `longest_step`


class Timings:
    """Durations of steps that took frames.

    The event loop's thread calls the methods. The engine's thread reads `last_step` and
    `longest_step`, which are therefore plain numbers: a deque must not be walked while it grows.

    Args:
        clock: seconds, monotonic.

    Attributes:
        load: of the engine's thread.
        last_step: seconds that the latest step took; 0 before the first.
        longest_step: seconds that the longest of the latest steps took; 0 before the first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.load = Load(clock)
        self._step_ms: collections.deque[float] = collections.deque(maxlen=_STEPS)
        self._encode_ms: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._decode_ms: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._answer_ms: collections.deque[float] = collections.deque(maxlen=_ANSWERS)
        self._latest: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self.last_step = self.longest_step = 0.0

    def record_step(self, seconds: float, encoding: float | None, decoding: float | None) -> None:
        """Adds a step's seconds, and those of its halves; None for a half that was skipped."""
        self._step_ms.append(seconds * 1e3)
        self._latest.append(seconds)
        self.last_step, self.longest_step = seconds, max(self._latest)
        if encoding is not None:
            self._encode_ms.append(encoding * 1e3)
        if decoding is not None:
            self._decode_ms.append(decoding * 1e3)

    def record_answer(self, seconds: float) -> None:
        """Adds the seconds from reading a frame until its result was written to the client."""
        self._answer_ms.append(seconds * 1e3)

    def step_ms(self) -> StepTimes | None:
        """Median and 99th percentile of the latest steps, in ms; None before the first."""
        if not self._step_ms:
            return None
        median, p99 = np.percentile(np.array(self._step_ms), (50, 99))
        return StepTimes(median=float(median), p99=float(p99))

    def coding_ms(self) -> CodingTimes | None:
        """Mean times of encoding and of decoding in the latest steps; None before the first."""
        if not self._step_ms:
            return None
        return CodingTimes(encode=_mean(self._encode_ms), decode=_mean(self._decode_ms))

    def answer_ms(self) -> dict[str, float] | None:
        """p50, p99 and max of the latest answers, in ms; None before the first."""
        if not self._answer_ms:
            return None
        p50, p99, most = np.percentile(np.array(self._answer_ms), (50, 99, 100))
        return {"p50": float(p50), "p99": float(p99), "max": float(most)}


def _mean(values: collections.deque[float]) -> float | None:
    return sum(values) / len(values) if values else None
