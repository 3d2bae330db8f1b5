"""Provides the timeline of bidirectional live streams, in overlapping windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xyt_stream.model.config import ModelConfig
from xyt_stream.model.timeline import Cached
from xyt_stream.streaming.lookahead import Lanes
from xyt_stream.streaming.state import StreamState
from xyt_stream.streaming.stream import Stream, View


class OverlappedStream(Stream):
    """One step after another of `slots` streams, each in one window of positions or in two.

    Rows are lanes, 2 * slot and 2 * slot + 1. Each lane has its own convolution and overlap-add
    state; the keys and values of a slot's lanes lie in one ring, each lane's after those of the one
    before. When a lane reaches the place where another began, that other one is over: so a ring
    holds four thirds of a window where two rings would hold two.

    Args:
        lanes: the lanes of the same slots.
    """

    def __init__(
        self, config: ModelConfig, modules: list[nn.Module], lanes: Lanes, device: torch.device
    ) -> None:
        frames = 1 + lanes.lookahead
        # Lanes that do not run write behind the ring: shapes must not change.
        super().__init__(
            config,
            modules,
            slots=2 * lanes.slots,
            frames=frames,
            device=device,
            capacity=lanes.capacity + frames,
            lanes=2,
        )
        self.lanes = lanes
        self.offsets = torch.zeros(0, dtype=torch.int64, device=device)
        self._slots = torch.arange(lanes.slots, device=device)[:, None]
        self._lane_states: dict[tuple[int, int | None], StreamState] = {}

    def enter(self, active: Tensor, lane: int | None) -> None:
        """Start a step of the first len(active) slots: of both lanes, or of `lane` (0 or 1)."""
        key = (len(active), lane)
        if key not in self._lane_states:
            both = self.all.first(2 * len(active))
            self._lane_states[key] = both if lane is None else both.lane(lane)
        self.state = self._lane_states[key]
        self.active, self.offsets = self.lanes.begin(self.state, active, lane)
        self.frames, self.given = 1 + self.lanes.lookahead, 1
        self._views.clear()

    def view(self, length: int) -> View:
        if length not in self._views:
            self._views[length] = _LaneView(self, length)
        return self._views[length]

    def attend(self, layer: Cached, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = self.state.keys[layer], self.state.values[layer]
        view = self.view(k.shape[2])
        lanes = self.state.lanes
        q, k, v = (_side_by_side(x.to(keys.dtype), lanes) for x in (q, k, v))
        # scatter_ in bfloat16 copies the whole ring on a CPU.
        where = (self._slots[: len(keys)], view.ring.view(len(keys), -1))
        keys.transpose(1, 2).index_put_(where, k.transpose(1, 2))
        values.transpose(1, 2).index_put_(where, v.transpose(1, 2))
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=view.mask)
        heads, width = out.shape[1], out.shape[3]
        by_lane = out.view(len(keys), heads, lanes, -1, width).transpose(1, 2)
        return by_lane.reshape(len(keys) * lanes, heads, -1, width)


def _side_by_side(x: Tensor, lanes: int) -> Tensor:
    """[slots * lanes, heads, length, head_dim] -> [slots, heads, lanes * length, head_dim]."""
    if lanes == 1:
        return x
    by_slot = x.reshape(-1, lanes, *x.shape[1:]).transpose(1, 2)
    return by_slot.flatten(2, 3)


class _LaneView(View):
    """One step at one rate, for every row.

    Attributes:
        positions: in the row's window, int64 [rows, length].
        ring: the ring entries of their keys and values, int64 [rows, length].
        inside: whether they lie before their stream's end, bool [rows, length].
        mask: the ring entries that they attend to, bool [slots, 1, 1 or lanes * length, capacity].
    """

    def __init__(self, stream: OverlappedStream, length: int) -> None:
        rate = length // stream.frames
        device = stream.active.device
        size = stream.lanes.capacity * rate
        start = stream.state.frames[:, None] * rate
        end = stream.state.ends[:, None] * rate
        offset = stream.offsets[:, None] * rate
        steps = torch.arange(length, device=device)
        self.positions = start + steps
        self.inside = self.positions < end
        running = stream.active[:, None]
        self.ring = torch.where(running, (offset + self.positions) % size, size + steps)
        entries = torch.arange(size + length, device=device)
        held = (entries - offset) % size  # the position that an entry holds, if this lane wrote it
        seen = (held < start + length) & (held < end) & (entries < size)
        if stream.state.lanes > 1:
            rows = seen.view(-1, stream.state.lanes, 1, size + length)
            self.mask = rows.expand(-1, -1, length, -1).flatten(1, 2)[:, None]
        else:
            self.mask = seen[:, None, None]
