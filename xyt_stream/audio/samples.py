"""Defines rates, frame sizes and the mapping between float32 and 16-bit samples."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

INPUT_RATE = 16_000  # Hz, of every encoder's input
FRAME_SAMPLES = 1_280  # samples at INPUT_RATE in one code frame
FRAME_SECONDS = FRAME_SAMPLES / INPUT_RATE  # 0.08 s

FILE_RATES = range(1_000, 768_001)  # Hz; other rates are refused, as they could fill the memory
FULL_SCALE = 32_768  # the int16 step that stands for 1.0

Samples: TypeAlias = npt.NDArray[np.float32]
Pcm16: TypeAlias = npt.NDArray[np.int16]


def to_float32(pcm: npt.NDArray[Any]) -> Samples:
    """16-bit samples as float32 in [-1, 1)."""
    samples: Samples = pcm.astype(np.float32) / np.float32(FULL_SCALE)
    return samples


def to_int16(samples: npt.NDArray[Any]) -> Pcm16:
    """Finite float samples as 16-bit, rounded to the nearest step and clipped at full scale.

    `to_int16(to_float32(pcm))` is `pcm` again.
    """
    scaled = np.rint(samples * np.float32(FULL_SCALE))
    pcm: Pcm16 = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return pcm


def scaled_length(samples: int, rate_in: int, rate_out: int) -> int:
    """The number of samples at `rate_out` that last as long as `samples` at `rate_in`.

    Halves round up.
    """
    return (2 * samples * rate_out + rate_in) // (2 * rate_in)


def fit_length(samples: Samples, length: int) -> Samples:
    """`samples` cut, or filled up with silence, to exactly `length`."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))
