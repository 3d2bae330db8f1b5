"""Checks the samples and codes of callers, once, before they reach any state."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xyt_stream.errors import AudioError, CodeError

Samples = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]


def check_samples(pcm: npt.ArrayLike) -> Samples:
    """Finite float32 [samples].

    Raises:
        AudioError: otherwise.
    """
    wav = np.asarray(pcm)
    if wav.ndim != 1 or wav.dtype.kind != "f":
        raise AudioError(
            f"samples must be float, [samples], -1 to 1; got {wav.dtype} {list(wav.shape)}"
        )
    with np.errstate(over="ignore"):
        samples = wav.astype(np.float32)
    if not np.isfinite(samples).all():
        raise AudioError("the samples hold NaN or infinity")
    return samples


def check_codes(codes: npt.ArrayLike, codebooks: int, size: int) -> Codes:
    """int64 [1 to `codebooks`, frames], each 0 to `size` - 1.

    Raises:
        CodeError: otherwise.
    """
    given = np.asarray(codes)
    if given.ndim != 2 or given.dtype.kind not in "iu" or not 1 <= given.shape[0] <= codebooks:
        raise CodeError(
            f"codes must be integers [codebooks, frames] of 1 to {codebooks} codebooks; "
            f"got {given.dtype} {list(given.shape)}"
        )
    if given.size and (int(given.min()) < 0 or int(given.max()) >= size):
        raise CodeError(f"codes must be 0 to {size - 1}; got {given.min()} to {given.max()}")
    return given.astype(np.int64)
