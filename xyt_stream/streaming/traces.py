"""Traces live steps once and runs them again without Python, the CPU's analogue of CUDA graphs.

In a step of few streams a third of the time is Python between small operations, and Python holds
the interpreter's lock, which a server's event loop needs too. A TorchScript trace is the same
operations on the same memory, called once, without the lock; its results are the same to the bit.

Everything that a step reads is an input of its trace, weights included: TorchScript may compute
ahead with constants, and state is not constant. So one trace serves all streams of a network.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import Tensor, nn

from xyt_stream.model.quantizer import packed_weights
from xyt_stream.model.torch_internals import Trace, held, run_trace, trace
from xyt_stream.streaming.compiled_step import StepFunction
from xyt_stream.streaming.state import StreamState

# By the first module of a half: its traces by the number of slots, and at 0 for any chosen slots.
_made: WeakKeyDictionary[nn.Module, dict[int, Trace]] = WeakKeyDictionary()


class Traces:
    """A step of all slots, or of any chosen ones, traced when it is first taken.

    Args:
        step: the step as written.
        modules: the half of a network that it runs.
        state: the state that it reads and changes.
    """

    def __init__(self, step: StepFunction, modules: list[nn.Module], state: StreamState) -> None:
        self._step = step
        self._slots = len(state.frames)
        self._traces = _made.setdefault(modules[0], {})
        self._read = [*state.tensors(), *_weights(modules)]
        # torch takes the interpreter's lock whenever a tensor's last reference but Python's goes
        # away, at the latest use of each input: hundreds of times a step, each a wait for a busy
        # event loop. With another reference beside Python's, it never does.
        self._held = held(self._read)

    def serves(self, active: Tensor, chosen: Tensor | None) -> bool:
        """Whether there is, or can be, a trace of this step."""
        return chosen is not None or len(active) == self._slots

    def __call__(self, x: Tensor, active: Tensor, chosen: Tensor | None) -> Tensor:
        """As the step itself."""
        inputs = (x, active) if chosen is None else (x, active, chosen)
        key = self._slots if chosen is None else 0
        if key not in self._traces:
            self._traces[key], result = self._trace(inputs)
            return result
        return run_trace(self._traces[key], (*inputs, *self._read))

    def _trace(self, inputs: tuple[Tensor, ...]) -> tuple[Trace, Tensor]:
        """Take the step: its trace and its result."""
        # torch keeps the function, which must not keep alive the streams it was traced with.
        steps, results = [self._step], list[Tensor]()
        picks = len(inputs) == 3

        def step(x: Tensor, active: Tensor, *others: Tensor) -> Tensor:
            results.append(steps.pop()(x, active, others[0] if picks else None))
            return results[0]

        traced = trace(step, (*inputs, *self._read))
        return traced, results.pop()


def _weights(modules: list[nn.Module]) -> list[Tensor]:
    """Parameters, buffers and prepacked weights."""
    found: list[Tensor] = []
    for module in modules:
        found += [*module.parameters(), *module.buffers()]
        found += [packed for _, packed in packed_weights(module)]
    return found
