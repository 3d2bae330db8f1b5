"""Provides the timeline of live streams, with cached state."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xyt_stream.model.config import ModelConfig
from xyt_stream.model.timeline import Cached, Overlapping, Tailed, envelope, overlap
from xyt_stream.streaming.state import StreamState, init_state


class Stream:
    """One step after another of `slots` streams side by side.

    A step sees `frames` code frames and gives out the first `given` of them; the rest is
    provisional, computed again next step with more of the future known. For a causal network the
    two are equal.

    An inactive slot computes along with the others, because shapes must not change, but its state
    stays: a mask keeps tails and carries, and the ring entries it writes are those that its next
    step writes again, outside every attention mask until then. Provisional keys and values are
    overwritten in the same way.

    A step may run the first slots only, as many as `begin` is given, in place. Or it may run any
    slots: their state is copied into the rows of the step and back, which is quicker when few of
    many are active.

    Args:
        config: of the network.
        modules: the parts of the network that will be run.
        slots: streams side by side.
        frames: code frames in the longest step.
        capacity: frames that a ring holds; None: the context and a step.
        lanes: rows that share a ring.
    """

    def __init__(
        self,
        config: ModelConfig,
        modules: list[nn.Module],
        *,
        slots: int,
        frames: int,
        device: torch.device,
        capacity: int | None = None,
        lanes: int = 1,
    ) -> None:
        self.causal = config.causal
        self.context = config.context
        self.capacity = capacity or config.context + frames
        self.frames = self.given = frames
        self.slots = slots
        self.all = init_state(modules, slots, self.capacity, device, lanes)
        self.state = self.all
        self.active = torch.ones(slots, dtype=torch.bool, device=device)
        self._every_slot = torch.arange(slots, device=device)
        self._rows = self._every_slot  # the slots of this step's rows
        self._picks = False  # whether they are chosen ones, not the first
        self._states: dict[int, StreamState] = {slots: self.all}
        self._views: dict[int, View] = {}
        self._envelopes: dict[tuple[nn.Module, int], Tensor] = {}

    def begin(self, active: Tensor, frames: int, given: int, chosen: Tensor | None = None) -> None:
        """Start a step of the first len(active) slots; those that are False stay as they are.

        Args:
            frames: code frames that the step sees.
            given: of these, the frames that it gives out.
            chosen: int64 [rows]: these slots instead of the first ones, each at most once.
        """
        self._picks = chosen is not None
        if chosen is None:
            count = len(active)
            if count not in self._states:
                self._states[count] = self.all.first(count)
            self.state = self._states[count]
            self._rows = self._every_slot[:count]
        else:
            self.state = self.all.gather(chosen)
            self._rows = chosen
        self.active = active
        self.frames, self.given = frames, given
        self._views.clear()

    def finish(self) -> None:
        """End the step: time moves on for active slots."""
        self.state.frames.add_(self.active * self.given)
        if self._picks:
            self.all.scatter(self._rows, self.state)

    def extend(self, layer: Tailed, x: Tensor) -> Tensor:
        tail = self.state.tails[layer]
        length, left = int(x.shape[1]), layer.left
        before = tail
        if layer.reflects:
            first = (self.state.frames == 0)[:, None, None]
            before = torch.where(first, x[:, 1 : left + 1].flip(1), tail)
        if layer.pad:
            x = self.valid(x)
        out = torch.cat([before, x], dim=1)
        moved = (length - layer.ahead) // self.frames * self.given
        torch.where(self.active[:, None, None], out[:, moved : moved + left], tail, out=tail)
        return F.pad(out, (0, 0, 0, layer.pad)) if layer.pad else out

    def view(self, length: int) -> View:
        """Positions, ring and mask of this step at a rate of length / frames positions a frame."""
        length = int(length)  # in a trace it is a tensor, which is no key of a dictionary
        if length not in self._views:
            self._views[length] = View(self, length)
        return self._views[length]

    def positions(self, length: int) -> Tensor:
        return self.view(length).positions

    def attend(self, layer: Cached, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = self.all.keys[layer], self.all.values[layer]
        view = self.view(k.shape[2])
        where = (self._rows[:, None], view.ring)
        # Under autocast keys and values may be narrower than the ring.
        for ring, new in ((keys, k), (values, v)):
            ring.transpose(1, 2).index_put_(where, new.to(ring.dtype).transpose(1, 2))
        if self._picks:
            keys, values = keys.index_select(0, self._rows), values.index_select(0, self._rows)
        else:
            keys, values = self.state.keys[layer], self.state.values[layer]
        keys, values = keys.to(q.dtype), values.to(q.dtype)
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=view.mask)

    def valid(self, x: Tensor) -> Tensor:
        return x if self.causal else x * self.view(x.shape[1]).inside[:, :, None]

    def loudest(self, mel: Tensor) -> Tensor:
        loudest = torch.maximum(self.state.loudest, mel.amax(dim=(1, 2)))
        torch.where(self.active, loudest, self.state.loudest, out=self.state.loudest)
        return loudest[:, None, None]

    def overlap_add(self, layer: Overlapping, windows: Tensor) -> Tensor:
        carry = self.state.carries[layer]
        count = int(windows.shape[1]) // self.frames * self.given
        windows = windows[:, :count]
        ready = count * layer.hop
        total = overlap(windows, layer.hop)
        total.narrow(1, 0, carry.shape[1]).add_(carry)
        torch.where(self.active[:, None], total[:, ready:], carry, out=carry)
        if (layer, count) not in self._envelopes:
            first = envelope(layer, count)[:ready]
            later = envelope(layer, 2 * count)[ready : 2 * ready]
            self._envelopes[layer, count] = torch.stack([first, later]).clamp(min=1e-11)
        return total[:, :ready] / self._envelopes[layer, count][(self.state.frames > 0).long()]

    def rest(self, layer: Overlapping) -> Tensor:
        """The samples left in the overlap-add when streams end: [slots, (n_fft - hop) / 2]."""
        cut = (layer.n_fft - layer.hop) // 2
        windows = layer.n_fft // layer.hop
        left = envelope(layer, windows)[-(layer.n_fft - layer.hop) :][:cut]
        return self.all.carries[layer][:, :cut] / left.clamp(min=1e-11)


class View:
    """One step at one rate, for every slot.

    Attributes:
        positions: int64 [slots, length].
        ring: the ring entries of their keys and values, int64 [slots, length].
        inside: whether they lie before their stream's end, bool [slots, length].
        mask: the ring entries that they attend to, bool [slots, 1, 1 or length, capacity].
    """

    def __init__(self, stream: Stream, length: int) -> None:
        rate = length // stream.frames
        device = stream.active.device
        capacity = stream.capacity * rate
        start = stream.state.frames[:, None] * rate
        end = stream.state.ends[:, None] * rate
        self.positions = start + torch.arange(length, device=device)
        self.ring = self.positions % capacity
        self.inside = self.positions < end
        # Ring entry j holds the newest position that is j modulo the capacity.
        last = start + (length - 1)
        held = last - (last - torch.arange(capacity, device=device)) % capacity
        block = stream.state.frames[:, None] + torch.arange(stream.frames, device=device)
        age = block[:, :, None] - held[:, None].div(rate, rounding_mode="floor")
        seen = (held[:, None] >= 0) & (age >= 0) & (age <= stream.context)
        if stream.frames > 1:
            seen = seen.repeat_interleave(rate, dim=1)
        self.mask = seen[:, None]
