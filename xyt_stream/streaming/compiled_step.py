"""Steps made ready for their device: traced on a CPU, captured as graphs on a GPU."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from xyt_stream.streaming.graphs import CudaCapture, Graphs
from xyt_stream.streaming.steps import Step, Steps
from xyt_stream.streaming.traces import Traces


class CompiledStep(Protocol):
    """A step that runs without Python between its operations."""

    def serves(self, active: Tensor, chosen: Tensor | None) -> bool:
        """Whether it can be taken for these rows; if not, the step itself must be."""
        ...

    def __call__(self, x: Tensor, active: Tensor, chosen: Tensor | None) -> Tensor:
        """As the step itself."""
        ...


def compile_step(
    step: Step, modules: list[nn.Module], steps: Steps, rows: Tensor, *, graphs: bool
) -> CompiledStep | None:
    """What runs a step faster than Python does, where there is such a thing.

    Args:
        step: of one half of a codec.
        modules: that it runs.
        rows: input of a step of all slots, of any values.
        graphs: on a GPU, capture the step for every bucket of slots, which takes seconds.
    """
    if steps.device.type == "cuda" and graphs:
        return Graphs(step, rows.to(steps.device), CudaCapture(steps.device))
    if steps.device.type == "cpu" and not steps.lanes:
        return Traces(step, modules, steps.stream.all)
    return None
