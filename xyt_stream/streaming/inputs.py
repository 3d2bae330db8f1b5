"""Checks the samples, codes and lengths of callers before they reach any state."""

from __future__ import annotations

import os
import warnings
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from xyt_stream.errors import AudioError, CodeError, InputTypeError, XYTError

Samples: TypeAlias = Tensor | ArrayLike
Codes: TypeAlias = Tensor | ArrayLike
Lengths: TypeAlias = Tensor | ArrayLike

LOUD = 8.0  # times full scale; float sound beyond it was scaled as integers are
CHANNELS = 32  # a last axis no longer than this, and shorter than the first, is of channels

_SOUND_AXES = {1: "[samples]", 2: "[batch, samples]"}
_CODE_AXES = {2: "[codebooks, frames]", 3: "[batch, codebooks, frames]"}


def check_samples(wav: Samples, dimensions: tuple[int, ...]) -> Tensor:
    """Samples as a float32 tensor.

    Args:
        wav: a tensor, array or list of floats, full scale at +-1.
        dimensions: numbers of axes it may have: 1 for [samples], 2 for [batch, samples].

    Raises:
        InputTypeError: no numbers, a path for example.
        AudioError: no floats, other axes, or NaN or infinity among them.
    """
    wav = _tensor(wav, "samples", "read a sound file with xyt_stream.audio.read_audio")
    axes = " or ".join(_SOUND_AXES[n] for n in dimensions)
    if wav.ndim not in dimensions or not wav.is_floating_point():
        raise AudioError(f"samples must be float {axes}, -1 to 1; got {_described(wav)}")
    if wav.ndim == 2 and 0 < wav.shape[1] <= CHANNELS and wav.shape[1] < wav.shape[0]:
        raise AudioError(
            f"samples must be {axes}; {list(wav.shape)} looks like [samples, channels]: "
            "mix the channels down (.mean(1)), or transpose it to code each as a clip of its own"
        )
    wav = wav.float()
    if not torch.isfinite(wav).all():
        raise AudioError("the samples hold NaN or infinity")
    return wav


def warn_if_loud(wav: Tensor) -> bool:
    """Warn of float samples that were scaled as integers are; returns whether it did."""
    loud = wav.numel() > 0 and float(wav.abs().max()) > LOUD
    if loud:
        warnings.warn(
            "the samples go far beyond full scale, which is -1 to 1: "
            "divide those of 16 bits by 32768",
            UserWarning,
            stacklevel=2,
        )
    return loud


def check_codes(codes: Codes, dimensions: tuple[int, ...], codebooks: int, size: int) -> Tensor:
    """Codes of the first one or more codebooks as an int64 tensor.

    Args:
        codes: a tensor, array or list of integers.
        dimensions: numbers of axes it may have: 2 for [codebooks, frames], 3 for
            [batch, codebooks, frames].
        codebooks, size: of the model; a code is 0 to `size` - 1.

    Raises:
        InputTypeError: no numbers, a path for example.
        CodeError: no integers, other axes, or a code out of range.
    """
    codes = _tensor(codes, "codes", "read a .xyt file with CodeFile.read")
    axes = " or ".join(_CODE_AXES[n] for n in dimensions)
    integer = not (codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool)
    if codes.ndim not in dimensions or not integer or not 1 <= codes.shape[-2] <= codebooks:
        raise CodeError(
            f"codes must be integers {axes} of 1 to {codebooks} codebooks; got {_described(codes)}"
        )
    if codes.ndim == 3 and codes.shape[1] < codes.shape[0] == codebooks:
        # As transformers has them. A batch of just this size and of fewer codebooks looks the same.
        raise CodeError(
            f"codes must be {axes}; {list(codes.shape)} looks like [codebooks, batch, frames]: "
            f"transpose the first two axes, or, if it is {codebooks} clips of fewer codebooks, "
            "decode them in two batches"
        )
    codes = codes.long()
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= size):
        raise CodeError(f"codes must be 0 to {size - 1}; got {codes.min()} to {codes.max()}")
    return codes


def check_lengths(lengths: Lengths | None, batch: Tensor, error: type[XYTError]) -> Tensor:
    """Lengths of a batch's clips, int64 [batch] on its device; None: its whole last axis.

    Args:
        batch: [batch, ..., length].
        error: raised where they are not one integer from 0 to `length` for each clip.
    """
    count, full = len(batch), batch.shape[-1]
    if lengths is None:
        return torch.full((count,), full, dtype=torch.int64, device=batch.device)
    lengths = _tensor(lengths, "lengths", "give one integer for each clip")
    integer = not (lengths.is_floating_point() or lengths.is_complex())
    if not (integer or lengths.numel() == 0) or lengths.shape != (count,):
        raise error(f"lengths must be {count} integers, one for each clip")
    if bool(((lengths < 0) | (lengths > full)).any()):
        raise error(f"lengths must be 0 to {full}")
    return lengths.long().to(batch.device)


def _tensor(value: Any, name: str, hint: str) -> Tensor:
    """A tensor of any numbers, without gradient.

    Raises:
        InputTypeError: there are no numbers, or rows of unequal length.
    """
    if isinstance(value, Tensor):
        return value.detach()
    array = None
    if not isinstance(value, str | bytes | bytearray | os.PathLike):
        try:
            array = np.asarray(value)
        except (ValueError, TypeError):
            array = None
    if array is None or array.dtype.kind not in "fiubc":
        raise InputTypeError(
            f"{name} must be a tensor, an array or a list of numbers, not {_kind(value)}; {hint}"
        )
    # torch knows no long double, no foreign byte order and no negative strides.
    plain = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_, "c": np.complex64}
    return torch.from_numpy(array.astype(plain[array.dtype.kind], order="C"))


def _kind(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of unequal or other things"
    return f"a {type(value).__name__}" if value is not None else "None"


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
