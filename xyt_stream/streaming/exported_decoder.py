"""Runs a decoder that was exported in eight bits, on the very state that torch's steps work on.

Its user has chosen its sound, and it is quicker than torch with any number of rows; in float32
torch is (docs/BENCHMARKS.md). It has one scale for the activations of all rows, so streams side by
side change each other's rounding, 75 dB below the sound.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from xyt_stream.edge import step
from xyt_stream.edge.manifest import TensorSpec, read
from xyt_stream.edge.step import Step
from xyt_stream.errors import MissingExtraError, ModelError
from xyt_stream.streaming.compiled_step import CompiledStep

RINGS = (".keys", ".values")


def exported_decoder(folder: Path, hash: str) -> Step | None:
    """The decoder that a folder holds in eight bits; None without one, or without onnxruntime.

    Args:
        hash: of the model that it must be of.
    """
    try:
        manifest = read(folder)
        if manifest.hash != hash or manifest.decoder.precision != "int8":
            return None
        return step.load(folder, manifest, manifest.decoder, threads=1)
    except (ModelError, MissingExtraError):
        return None


class _Buffers(NamedTuple):
    """Holds a step that is bound to its tensors, with its input and its output."""

    run: Callable[[], None]
    x: Tensor
    made: Tensor


class OnnxStep:
    """Runs steps of a network's half in onnxruntime, but those with slots that wait as before.

    Chosen rows are copied next to each other and back, as in torch; the first rows are stepped
    where they lie. Of their keys and values a step writes the newest entries in place.

    Args:
        graph: the half, exported.
        state: of all slots, [slots, ...] each, by the names of the graph.
        others: runs the steps that this one does not.
    """

    def __init__(self, graph: Step, state: dict[str, Tensor], others: CompiledStep) -> None:
        self._graph = graph
        self._others = others
        self._state = state
        self._chosen = {name: torch.zeros_like(each) for name, each in state.items()}
        self._after = {
            name: torch.zeros_like(each) for name, each in state.items() if not name.endswith(RINGS)
        }
        self._bound: dict[tuple[int, bool], _Buffers] = {}

    @staticmethod
    def fits(graph: Step, state: dict[str, Tensor]) -> bool:
        """Whether the graph works on such a state; earlier exports have another one."""
        wanted = {each.name: (each.dtype, each.shape) for each in graph.spec.state}
        return wanted == {
            name: (str(each.dtype).removeprefix("torch."), tuple(each.shape[1:]))
            for name, each in state.items()
        }

    def serves(self, active: Tensor, chosen: Tensor | None) -> bool:
        """Whether it, or the other one, can run this step."""
        return bool(active.all()) or self._others.serves(active, chosen)

    def __call__(self, x: Tensor, active: Tensor, chosen: Tensor | None) -> Tensor:
        """Takes one step; arguments and result as those of `CompiledStep`."""
        if not active.all():
            return self._others(x, active, chosen)
        rows = len(active)
        if chosen is not None and torch.equal(chosen, torch.arange(rows, device="cpu")):
            chosen = None
        key = rows, chosen is not None
        if key not in self._bound:
            self._bound[key] = self._bind(*key)
        bound = self._bound[key]
        bound.x.copy_(x)
        if chosen is not None:
            for name, each in self._state.items():
                torch.index_select(each, 0, chosen, out=self._chosen[name][:rows])
        bound.run()
        for name, each in self._state.items():
            after = self._after.get(name, self._chosen[name])[:rows]
            if chosen is not None:
                each.index_copy_(0, chosen, after)
            elif name in self._after:
                each[:rows] = after
        return bound.made.clone()

    def _bind(self, rows: int, apart: bool) -> _Buffers:
        before = self._chosen if apart else self._state
        spec = self._graph.spec
        x = _zeros(rows, spec.input)
        outputs = [_zeros(rows, each) for each in spec.outputs]
        run = self._graph.bind(
            {name: each[:rows].numpy() for name, each in before.items()},
            {name: self._after.get(name, each)[:rows].numpy() for name, each in before.items()},
            [each.numpy() for each in outputs],
            x.numpy(),
        )
        return _Buffers(run, x, outputs[0])


def _zeros(rows: int, spec: TensorSpec) -> Tensor:
    return torch.zeros(rows, *spec.shape, dtype=getattr(torch, spec.dtype), device="cpu")
