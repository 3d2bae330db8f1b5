"""Steps traced once and run again without Python: on a CPU what CUDA graphs are on a GPU.

Of a step of few streams a third is Python between one small operation and the next, and all of it
holds the interpreter's lock, which a server's event loop wants as well. A
TorchScript trace is the same operations on the same memory, called once and run without the lock;
its results are the same to the bit.

Everything that a step reads is an input of its trace, even the weights: a constant it would be
free to compute with ahead, and state changes. So one trace serves all streams of a network.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from xyt_stream.model.linear import Prepackable
from xyt_stream.model.quantizer import ResidualQuantizer
from xyt_stream.streaming.state import State
from xyt_stream.streaming.steps import Step

Trace = Callable[..., Tensor]

# By a part's first module: traces of steps of so many slots, and (0) of any chosen ones.
_made: WeakKeyDictionary[nn.Module, dict[int, Trace]] = WeakKeyDictionary()


class Traces:
    """A step of all slots, or of any chosen ones, traced when it is first taken.

    Args:
        step: rows, active and chosen to results, as `StreamEncoder.run`.
        modules: the part of a network that it runs.
        state: that it reads and changes.
    """

    def __init__(self, step: Step, modules: list[nn.Module], state: State) -> None:
        self._step = step
        self._slots = len(state.frames)
        self._traces = _made.setdefault(modules[0], {})
        self._read = [*state.tensors(), *_weights(modules)]

    def serves(self, active: Tensor, chosen: Tensor | None) -> bool:
        """Whether there is, or can be, a trace of such a step."""
        whole = chosen is not None or len(active) == self._slots
        return whole and not torch.is_autocast_enabled("cpu")

    def __call__(self, x: Tensor, active: Tensor, chosen: Tensor | None) -> Tensor:
        """As the step itself."""
        inputs = [x, active] if chosen is None else [x, active, chosen]
        key = self._slots if chosen is None else 0
        if key not in self._traces:
            self._traces[key], made = self._trace(inputs)
            return made
        # What the optimiser would do costs seconds and gains nothing.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return self._traces[key](*inputs, *self._read)

    def _trace(self, inputs: list[Tensor]) -> tuple[Trace, Tensor]:
        """Take the step and keep how it went."""
        # torch keeps the function, which may not keep the streams that it was traced with.
        steps, results = [self._step], list[Tensor]()
        picks = len(inputs) == 3

        def step(x: Tensor, active: Tensor, *others: Tensor) -> Tensor:
            results.append(steps.pop()(x, active, others[0] if picks else None))
            return results[0]

        with warnings.catch_warnings():
            # Shapes become constants: those that differ from step to step are covered by tests.
            warnings.simplefilter("ignore")
            traced: Trace = torch.jit.trace(  # type: ignore[no-untyped-call]
                step, (*inputs, *self._read), check_trace=False
            )
        return traced, results.pop()


def _weights(modules: list[nn.Module]) -> list[Tensor]:
    """Parameters, buffers and prepacked weights."""
    found: list[Tensor] = []
    for module in modules:
        found += [*module.parameters(), *module.buffers()]
        for layer in module.modules():
            if isinstance(layer, Prepackable) and layer.prepacked:
                found.append(layer.prepacked[0])
            if isinstance(layer, ResidualQuantizer):
                found += [book for book in layer.prepacked if book is not None]
    return found
