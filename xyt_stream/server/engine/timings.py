"""How long the engine's latest steps took."""

from __future__ import annotations

import collections
import time

import numpy as np

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.protocol.messages import CodingTimes, StepTimes

_KEPT = 1024  # durations behind `step_ms`
_RECENT = 16  # steps that tell how things are going
_LATELY = 10.0  # seconds that they may lie back


class Timings:
    """Of steps that took frames."""

    def __init__(self) -> None:
        self._step_ms: collections.deque[float] = collections.deque(maxlen=_KEPT)
        self._recent: collections.deque[tuple[float, float]] = collections.deque(maxlen=_RECENT)
        self._encode_ms: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._decode_ms: collections.deque[float] = collections.deque(maxlen=_RECENT)

    def took(self, seconds: float, encoding: float | None, decoding: float | None) -> None:
        """A step took so long, and its halves; None where there was nothing for one to do."""
        self._step_ms.append(seconds * 1e3)
        self._recent.append((time.monotonic(), seconds))
        if encoding is not None:
            self._encode_ms.append(encoding * 1e3)
        if decoding is not None:
            self._decode_ms.append(decoding * 1e3)

    @property
    def last(self) -> float:
        """Seconds that the latest step took; 0 before the first."""
        return self._step_ms[-1] / 1e3 if self._step_ms else 0.0

    def step_ms(self) -> StepTimes | None:
        """How long the latest steps took; None before the first."""
        if not self._step_ms:
            return None
        median, p99 = np.percentile(np.array(self._step_ms), (50, 99))
        return StepTimes(median=float(median), p99=float(p99))

    def coding_ms(self) -> CodingTimes | None:
        """How long the latest steps encoded and decoded; None before the first."""
        if not self._step_ms:
            return None
        return CodingTimes(encode=_mean(self._encode_ms), decode=_mean(self._decode_ms))

    @property
    def load(self) -> float:
        """The latest steps' time as a share of real time; at 1 the device cannot keep up.

        0 where there were too few lately: what is long ago must not keep anybody out.
        """
        if len(self._recent) < _RECENT or time.monotonic() - self._recent[0][0] > _LATELY:
            return 0.0
        return float(np.median([seconds for _, seconds in self._recent])) / FRAME_SECONDS


def _mean(values: collections.deque[float]) -> float | None:
    return sum(values) / len(values) if values else None
