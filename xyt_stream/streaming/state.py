"""What live streams remember."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xyt_stream.model.timeline import Overlapping, Tailed
from xyt_stream.model.transformer import Attention

OPEN = 1 << 40  # the end, in frames, of a stream whose end is not known


@dataclass(frozen=True)
class State:
    """All that `slots` streams remember: preallocated, never growing, each tensor slot first.

    Args:
        frames: frames each slot has given out since its reset, int64 [slots].
        ends: frames after which a slot's stream is over, int64 [slots]; OPEN while it goes on.
        loudest: greatest log mel each slot has heard, float32 [slots].
        tails: for each convolution, [slots, channels, left].
        keys, values: for each attention a ring, [slots, heads, capacity, head_dim].
        carries: for each overlap-add what later windows add to, [slots, n_fft - hop].
    """

    frames: Tensor
    ends: Tensor
    loudest: Tensor
    tails: dict[nn.Module, Tensor]
    keys: dict[nn.Module, Tensor]
    values: dict[nn.Module, Tensor]
    carries: dict[nn.Module, Tensor]

    def first(self, slots: int) -> State:
        """The state of the first `slots` slots: views, so that writing there writes here."""

        def views(group: dict[nn.Module, Tensor]) -> dict[nn.Module, Tensor]:
            return {layer: tensor[:slots] for layer, tensor in group.items()}

        return State(
            self.frames[:slots],
            self.ends[:slots],
            self.loudest[:slots],
            views(self.tails),
            views(self.keys),
            views(self.values),
            views(self.carries),
        )

    def copy_without_rings(self) -> State:
        """Its like, for `gather`; keys and values are these very ones."""

        def copies(group: dict[nn.Module, Tensor]) -> dict[nn.Module, Tensor]:
            return {layer: tensor.clone() for layer, tensor in group.items()}

        return State(
            self.frames.clone(),
            self.ends.clone(),
            self.loudest.clone(),
            copies(self.tails),
            self.keys,
            self.values,
            copies(self.carries),
        )

    def gather(self, slots: Tensor, into: State) -> None:
        """Copy what some slots (int64 [rows]) remember, but keys and values, into rows."""
        for tensor, rows in zip(self._light(), into._light(), strict=True):
            torch.index_select(tensor, 0, slots, out=rows)

    def scatter(self, slots: Tensor, rows: State) -> None:
        """Undo `gather`: what the rows remember goes back into their slots."""
        for tensor, changed in zip(self._light(), rows._light(), strict=True):
            tensor.index_copy_(0, slots, changed)

    def _light(self) -> list[Tensor]:
        """Every tensor but keys and values, of which a step changes a small part."""
        layers = (*self.tails.values(), *self.carries.values())
        return [self.frames, self.ends, self.loudest, *layers]

    def move(self, source: int, target: int) -> None:
        """Put what one slot remembers into another."""
        for tensor in self.tensors():
            tensor[target].copy_(tensor[source])

    def tensors(self) -> list[Tensor]:
        """Every tensor of the state."""
        groups = (self.tails, self.keys, self.values, self.carries)
        layers = [tensor for group in groups for tensor in group.values()]
        return [self.frames, self.ends, self.loudest, *layers]

    def reset(self, mask: Tensor) -> None:
        """Forget what the slots of `mask` (bool [slots]) heard.

        Keys and values may stay: until they are written again no mask shows them.
        """
        self.frames.masked_fill_(mask, 0)
        self.ends.masked_fill_(mask, OPEN)
        self.loudest.masked_fill_(mask, -torch.inf)
        for group in (self.tails, self.carries):
            for tensor in group.values():
                tensor.masked_fill_(mask.view(-1, *[1] * (tensor.ndim - 1)), 0.0)


def init_state(modules: list[nn.Module], slots: int, capacity: int, device: torch.device) -> State:
    """A state for everything below `modules` that remembers.

    Args:
        capacity: code frames whose keys and values are kept.
    """
    layers = [layer for module in modules for layer in module.modules()]
    rings = {
        layer: (slots, layer.heads, capacity * layer.positions_per_frame, layer.head_dim)
        for layer in layers
        if isinstance(layer, Attention)
    }
    return State(
        frames=torch.zeros(slots, dtype=torch.int64, device=device),
        ends=torch.full((slots,), OPEN, device=device),
        loudest=torch.full((slots,), -torch.inf, device=device),
        tails={
            layer: torch.zeros(
                slots, layer.channels, layer.left, dtype=_dtype(layer), device=device
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
            layer: torch.zeros(slots, layer.n_fft - layer.hop, device=device)
            for layer in layers
            if isinstance(layer, Overlapping)
        },
    )


def _dtype(layer: nn.Module) -> torch.dtype:
    """What a layer computes in."""
    return next((p.dtype for p in layer.parameters()), torch.float32)
