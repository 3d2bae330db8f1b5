"""Runs the stacks of encoder, decoder and vocoder in half precision; all else stays float32."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from xyt_stream.errors import ModelError

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)
WEIGHTS = (torch.float32, torch.bfloat16)  # in which a network may be loaded


def precision(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context in which the stacks compute in `dtype`; weights and residuals stay float32.

    Raises:
        ModelError: not one of PRECISIONS.
    """
    if dtype not in PRECISIONS:
        raise ModelError(f"a precision is {names(PRECISIONS)}, not {dtype}")
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def names(dtypes: tuple[torch.dtype, ...]) -> str:
    """The dtypes as text for errors: "float32, bfloat16 or float16"."""
    *others, last = (str(dtype).removeprefix("torch.") for dtype in dtypes)
    return f"{', '.join(others)} or {last}"


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A block that computes in float32 under a caller's autocast, too.

    Where there is none this is no block of torch: leaving one gives the interpreter's lock away.
    """
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def full_precision(
    method: Callable[Concatenate[S, Tensor, P], R],
) -> Callable[Concatenate[S, Tensor, P], R]:
    """Make a method compute in float32 under any autocast: mels, codes, waveforms."""

    @wraps(method)
    def run(self: S, x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with without_autocast(x.device):
            return method(self, x, *args, **kwargs)

    return run
