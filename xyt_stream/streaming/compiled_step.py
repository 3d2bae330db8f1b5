"""Defines the interfaces of a live step: as written, and compiled to run without Python."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class StepFunction(Protocol):
    """A step as it is written: `StreamEncoder.run` or `StreamDecoder.run`."""

    def __call__(self, x: Tensor, active: Tensor, chosen: Tensor | None = None, /) -> Tensor:
        """One step: `x`, [rows, ...]; `active`, bool [rows]; `chosen`, int64 [rows] or None."""
        ...


class CompiledStep(Protocol):
    """The same step without Python between its operations: `Traces` or `Graphs`."""

    def serves(self, active: Tensor, chosen: Tensor | None) -> bool:
        """Whether it can run this step; if not, the step as written must run."""
        ...

    def __call__(self, x: Tensor, active: Tensor, chosen: Tensor | None) -> Tensor:
        """As `StepFunction`."""
        ...
