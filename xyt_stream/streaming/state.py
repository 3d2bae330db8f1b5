"""Holds the state of live streams in preallocated tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from xyt_stream.edge.manifest import FRAMES
from xyt_stream.model.timeline import Cached, Overlapping, Tailed
from xyt_stream.model.torch_internals import without_python

OPEN = 1 << 40  # the end, in frames, of a stream whose end is not known


@dataclass(frozen=True)
class StreamState:
    """The state of `slots` streams: preallocated, never growing, each tensor with slots first.

    Streams of several lanes have a row for each, slot * lanes + lane, and one ring for a slot.

    Args:
        frames: frames each slot has given out since its reset, int64 [slots].
        ends: frames after which a slot's stream is over, int64 [slots]; OPEN while it goes on.
        loudest: maximum log mel of each slot's stream, float32 [slots].
        tails: left context of each convolution, [slots, left, channels].
        keys, values: for each attention a ring, [slots, heads, capacity, head_dim].
        carries: for each overlap-add the sum that later windows add to, [slots, n_fft - hop].
    """

    frames: Tensor
    ends: Tensor
    loudest: Tensor
    tails: dict[nn.Module, Tensor]
    keys: dict[nn.Module, Tensor]
    values: dict[nn.Module, Tensor]
    carries: dict[nn.Module, Tensor]
    lanes: int = 1

    def first(self, rows: int) -> StreamState:
        """The state of the first `rows` rows, as views of this one."""
        return self._views(slice(rows), slice(rows // self.lanes), self.lanes)

    def lane(self, lane: int) -> StreamState:
        """The state of one lane of every slot, as views of this one."""
        return self._views(slice(lane, None, self.lanes), slice(None), 1)

    def _views(self, rows: slice, slots: slice, lanes: int) -> StreamState:
        def views(group: dict[nn.Module, Tensor], part: slice) -> dict[nn.Module, Tensor]:
            return {layer: tensor[part] for layer, tensor in group.items()}

        return StreamState(
            self.frames[rows],
            self.ends[rows],
            self.loudest[rows],
            views(self.tails, rows),
            views(self.keys, slots),
            views(self.values, slots),
            views(self.carries, rows),
            lanes,
        )

    def gather(self, slots: Tensor) -> StreamState:
        """A copy of the state of some slots (int64 [rows]), but with the keys and values shared."""

        def chosen(group: dict[nn.Module, Tensor]) -> dict[nn.Module, Tensor]:
            return {layer: tensor.index_select(0, slots) for layer, tensor in group.items()}

        return StreamState(
            self.frames.index_select(0, slots),
            self.ends.index_select(0, slots),
            self.loudest.index_select(0, slots),
            chosen(self.tails),
            self.keys,
            self.values,
            chosen(self.carries),
        )

    def scatter(self, slots: Tensor, rows: StreamState) -> None:
        """Undo `gather`: copy the state of `rows` back into their slots."""
        for tensor, changed in zip(self._light(), rows._light(), strict=True):
            tensor.index_copy_(0, slots, changed)

    def _light(self) -> list[Tensor]:
        """Every tensor but keys and values, of which a step changes only a small part."""
        layers = (*self.tails.values(), *self.carries.values())
        return [self.frames, self.ends, self.loudest, *layers]

    def move(self, source: int, target: int) -> None:
        """Copy the state of one slot into another."""
        _move(self.tensors(), len(self.frames) // self.lanes, source, target)

    def slot(self, slot: int, names: dict[nn.Module, str]) -> dict[str, Tensor]:
        """Every tensor of one slot's state by name, as views.

        Args:
            names: of the layers.
        """
        found = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                found[field.name] = self._by_slot(value)[slot]
            elif isinstance(value, dict):
                for layer, tensor in value.items():
                    found[f"{field.name}.{names[layer]}"] = self._by_slot(tensor)[slot]
        return found

    def named(self, names: dict[nn.Module, str]) -> dict[str, Tensor]:
        """Returns the state of a causal network's streams, [slots, ...] each, by layer and kind.

        Args:
            names: of the layers.
        """
        groups = {
            "tail": self.tails,
            "keys": self.keys,
            "values": self.values,
            "carry": self.carries,
        }
        return {FRAMES: self.frames} | {
            f"{names[layer]}.{kind}": tensor
            for kind, group in groups.items()
            for layer, tensor in group.items()
        }

    def _by_slot(self, tensor: Tensor) -> Tensor:
        """[rows or slots, ...] as [slots, rows of a slot, ...]."""
        slots = len(self.frames) // self.lanes
        return tensor.view(slots, len(tensor) // slots, *tensor.shape[1:])

    def tensors(self) -> list[Tensor]:
        """Every tensor of the state."""
        groups = (self.tails, self.keys, self.values, self.carries)
        layers = [tensor for group in groups for tensor in group.values()]
        return [self.frames, self.ends, self.loudest, *layers]

    def reset(self, mask: Tensor) -> None:
        """Set the rows of `mask` (bool [rows]) to the start of a stream.

        Keys and values stay: no attention mask shows them until they are written again.
        """
        self.frames.masked_fill_(mask, 0)
        self.ends.masked_fill_(mask, OPEN)
        self.loudest.masked_fill_(mask, -torch.inf)
        _clear([*self.tails.values(), *self.carries.values()], mask)


@without_python
def _move(tensors: list[Tensor], slots: int, source: int, target: int) -> None:
    """Copies the rows of one slot in each tensor, [rows, ...], into those of another."""
    for tensor in tensors:
        rows = tensor.size(0) // slots
        tensor.narrow(0, target * rows, rows).copy_(tensor.narrow(0, source * rows, rows))


@without_python
def _clear(tensors: list[Tensor], mask: Tensor) -> None:
    """Sets the rows of `mask` to zero in each tensor, [rows, ...]."""
    for tensor in tensors:
        tensor.masked_fill_(mask.view([-1] + [1] * (tensor.dim() - 1)), 0.0)


def init_state(
    modules: list[nn.Module], slots: int, capacity: int, device: torch.device, lanes: int = 1
) -> StreamState:
    """The state of every layer below `modules` that needs one, for fresh streams.

    Args:
        slots: rows, as many as there are lanes.
        capacity: code frames whose keys and values are kept, in a ring for each `lanes` rows.
    """
    layers = [layer for module in modules for layer in module.modules()]
    rings = {
        layer: (slots // lanes, layer.heads, capacity * layer.positions_per_frame, layer.head_dim)
        for layer in layers
        if isinstance(layer, Cached)
    }
    return StreamState(
        frames=torch.zeros(slots, dtype=torch.int64, device=device),
        ends=torch.full((slots,), OPEN, device=device),
        loudest=torch.full((slots,), -torch.inf, dtype=torch.float32, device=device),
        tails={
            layer: torch.zeros(
                slots, layer.left, layer.channels, dtype=_dtype(layer), device=device
            )
            for layer in layers
            if isinstance(layer, Tailed)
        },
        keys={
            layer: torch.zeros(shape, dtype=_dtype(layer), device=device)
            for layer, shape in rings.items()
        },
        values={
            layer: torch.zeros(shape, dtype=_dtype(layer), device=device)
            for layer, shape in rings.items()
        },
        carries={
            layer: torch.zeros(slots, layer.n_fft - layer.hop, dtype=torch.float32, device=device)
            for layer in layers
            if isinstance(layer, Overlapping)
        },
        lanes=lanes,
    )


def _dtype(layer: nn.Module) -> torch.dtype:
    """The dtype that a layer computes in."""
    return next((p.dtype for p in layer.parameters()), torch.float32)
