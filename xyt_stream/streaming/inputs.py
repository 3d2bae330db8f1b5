"""Checking what users hand in, once, before it reaches any state."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xyt_stream.errors import AudioError, CodeError

Samples = Tensor | NDArray[np.float32]
Codes = Tensor | NDArray[np.int64]


def check_samples(wav: Samples, dimensions: tuple[int, ...]) -> Tensor:
    """float32 samples with one of the given numbers of dimensions, all of them finite.

    Raises:
        AudioError: otherwise.
    """
    wav = torch.as_tensor(wav)
    if wav.ndim not in dimensions or not wav.is_floating_point():
        shapes = " or ".join(("[samples]", "[batch, samples]")[n - 1] for n in dimensions)
        raise AudioError(
            f"samples must be float, {shapes}, -1 to 1; got {wav.dtype} {list(wav.shape)}"
        )
    if not torch.isfinite(wav).all():
        raise AudioError("the samples hold NaN or infinity")
    return wav.float()


def check_codes(codes: Codes, dimensions: tuple[int, ...], books: int, size: int) -> Tensor:
    """int64 codes of the first 1 to `books` codebooks, each 0 to `size` - 1.

    Raises:
        CodeError: otherwise.
    """
    codes = torch.as_tensor(codes)
    integer = not (codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool)
    if codes.ndim not in dimensions or not integer or not 1 <= codes.shape[-2] <= books:
        raise CodeError(
            f"codes must be integers [codebooks, frames] of 1 to {books} codebooks; "
            f"got {codes.dtype} {list(codes.shape)}"
        )
    codes = codes.long()
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= size):
        raise CodeError(f"codes must be 0 to {size - 1}; got {codes.min()} to {codes.max()}")
    return codes
