"""Provides the timeline of an exported step, whose state is passed in and out by value."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xyt_stream.edge.manifest import FRAMES
from xyt_stream.model.timeline import Cached, Overlapping, Tailed, envelope
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.state import init_state


def initial_state(network: Tokenizer, modules: list[nn.Module]) -> dict[str, Tensor]:
    """The state of one fresh stream through `modules`, all zeros, by name.

    Shapes and meaning are those of `StreamState`: keys and values are rings, so live streams of
    torch can be stepped by an exported graph, and the other way round.
    """
    names = {module: name for name, module in network.named_modules()}
    capacity = network.config.context + 1
    device = network.quantizer.codebooks.device
    return init_state(modules, 1, capacity, device).named(names)


class Envelopes(NamedTuple):
    """The sums of overlapped windows that an overlap-add divides by.

    Args:
        first: under a stream's first frame, float32 [samples].
        later: under every other frame, float32 [samples].
        rest: beyond a stream's last frame, float32 [(n_fft - hop) / 2].
    """

    first: Tensor
    later: Tensor
    rest: Tensor

    @classmethod
    def of(cls, layer: Overlapping, windows: int) -> Envelopes:
        """The sums for frames of so many windows."""
        ready, after = windows * layer.hop, layer.n_fft - layer.hop
        two_frames = envelope(layer, 2 * windows).clamp(min=1e-11)
        return cls(
            two_frames[:ready], two_frames[ready : 2 * ready], two_frames[-after:][: after // 2]
        )


class Functional:
    """One frame of streams side by side, for a causal network.

    Nothing is written in place: the state is read from `before`, and the next step's state is left
    in `after`. A ring's state after is the state before with the frame's entries replaced, and no
    other operation reads the state before: so a runtime that is given one buffer for both writes
    only those entries.

    Args:
        network: whose layers ask.
        before: the state before the step, each tensor [batch, ...], by the names of
            `initial_state`.
        envelopes: of the network's overlap-add.
    """

    frames = 1

    def __init__(
        self, network: Tokenizer, before: dict[str, Tensor], envelopes: Envelopes | None = None
    ) -> None:
        self.context = network.config.context
        self.before = before
        self.after = {FRAMES: before[FRAMES] + 1}
        self._names = {module: name for name, module in network.named_modules()}
        self._envelopes = envelopes

    def extend(self, layer: Tailed, x: Tensor) -> Tensor:
        return self._join(f"{self._names[layer]}.tail", x, layer.left)

    def positions(self, length: int) -> Tensor:
        return self.before[FRAMES][:, None] * length + torch.arange(length)

    def attend(self, layer: Cached, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        name, rate = self._names[layer], k.shape[2]
        capacity = (self.context + 1) * rate
        start = self.before[FRAMES][:, None] * rate
        where = (start + torch.arange(rate)) % capacity
        keys = self._replace(f"{name}.keys", k, where)
        values = self._replace(f"{name}.values", v, where)
        # Until the ring is full, its entries beyond this frame's were never written.
        missing = torch.arange(capacity) >= start + rate
        mask = torch.where(missing, -torch.inf, 0.0)[:, None, None]
        scores = (q * q.shape[-1] ** -0.5) @ keys.transpose(2, 3) + mask
        out: Tensor = scores.softmax(-1) @ values
        return out

    def valid(self, x: Tensor) -> Tensor:
        return x

    def loudest(self, mel: Tensor) -> Tensor:
        raise NotImplementedError("a causal network has a fixed floor")

    def overlap_add(self, layer: Overlapping, windows: Tensor) -> Tensor:
        assert self._envelopes is not None
        name, hop = f"{self._names[layer]}.carry", layer.hop
        parts = layer.n_fft // hop
        padded = [
            F.pad(windows[:, :, i * hop : (i + 1) * hop], (0, 0, i, parts - 1 - i))
            for i in range(parts)
        ]
        total = torch.stack(padded).sum(0).flatten(1)
        ready = windows.shape[1] * hop
        carry = self.before[name]
        total = total + F.pad(carry, (0, total.shape[1] - carry.shape[1]))
        self.after[name] = total[:, ready:]
        started = (self.before[FRAMES] > 0)[:, None]
        return total[:, :ready] / torch.where(started, self._envelopes.later, self._envelopes.first)

    def rest(self, layer: Overlapping) -> Tensor:
        """Returns the samples left if a stream ends here: [batch, (n_fft - hop) / 2]."""
        assert self._envelopes is not None
        carry = self.after[f"{self._names[layer]}.carry"]
        return carry[:, : len(self._envelopes.rest)] / self._envelopes.rest

    def _replace(self, name: str, new: Tensor, where: Tensor) -> Tensor:
        """Returns the ring `name` with `new` at the entries `where`, int64 [batch, length]."""
        batch, heads, _, _ = new.shape
        index = (
            torch.arange(batch)[:, None, None],
            torch.arange(heads)[None, :, None],
            where[:, None],
        )
        self.after[name] = self.before[name].index_put(index, new)
        return self.after[name]

    def _join(self, name: str, new: Tensor, kept: int) -> Tensor:
        """Returns the state `name` with `new` behind it, and keeps the newest `kept` positions."""
        joined = torch.cat([self.before[name], new], 1)
        self.after[name] = joined.narrow(1, joined.shape[1] - kept, kept)
        return joined
