"""Keeps public methods out of a caller's `torch.compile`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def uncompiled(method: Callable[P, R]) -> Callable[P, R]:
    """Wrap a method so that `torch.compile` of its callers runs it as it is.

    Prepacked weights are opaque to torch's compiler. `torch.compiler.disable` alone would load that
    compiler, which takes seconds, into every program.
    """

    disabled: list[Callable[P, R]] = []

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if "torch._dynamo" not in sys.modules:
            return method(*args, **kwargs)
        if not disabled:
            disabled.append(torch.compiler.disable(method))  # type: ignore[no-untyped-call]
        return disabled[0](*args, **kwargs)

    return call
