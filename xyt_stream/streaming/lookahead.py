"""Waiting for the future, and going on when a window of absolute positions is full.

A bidirectional network gives out a frame once it has seen R frames more. Its positions end with its
window (30 s), as the published code's windows do; there a new window starts 10 s before the old one
is left. So does a stream: each slot has two lanes. While one speaks, the other starts afresh 10 s
ahead of the change and warms up in silence; then they change places.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xyt_stream.errors import ModelError
from xyt_stream.streaming.state import OPEN, State

OVERLAP = 125  # frames (10 s) by which the published windows overlap


class History:
    """The newest `length` items of each slot, moved on one step at a time.

    Args:
        shape: of what one slot holds, time last.
        hop: items a step brings.
    """

    def __init__(self, slots: int, shape: tuple[int, ...], hop: int, device: torch.device) -> None:
        self.held = torch.zeros(slots, *shape, device=device)
        self.hop = hop
        self._next = torch.zeros_like(self.held)

    def prime(self, x: Tensor, mask: Tensor) -> None:
        """Give the slots of `mask` all but the first step's items: [slots, ..., length - hop]."""
        self.held[..., self.hop :] = torch.where(_over(mask, x), x, self.held[..., self.hop :])

    def push(self, x: Tensor, active: Tensor) -> Tensor:
        """Move active slots on by [slots, ..., hop]; what all of them hold now."""
        self._next[..., : -self.hop] = self.held[..., self.hop :]
        self._next[..., -self.hop :] = x
        torch.where(_over(active, x), self._next, self.held, out=self.held)
        return self.held


class Lanes:
    """Which of each slot's two lanes speaks, and which one warms up.

    Lane number k of a slot (in row k % 2) starts at frame k * period and speaks from `warm` frames
    after that; the first speaks at once.

    Args:
        window: frames that have positions.
        lookahead: frames each step sees beyond the one it gives out.
    """

    def __init__(self, slots: int, window: int, lookahead: int, device: torch.device) -> None:
        usable = window - lookahead
        if usable < 1:
            raise ModelError(f"a lookahead of {lookahead} frames does not fit into {window}")
        self.warm = min(OVERLAP, usable // 2)
        self.period = usable - self.warm
        self.given = torch.zeros(slots, dtype=torch.int64, device=device)
        self.ends = torch.full((slots,), OPEN, device=device)
        self.last_lane = torch.full((slots,), OPEN, device=device)
        self._row = torch.arange(2, device=device)[:, None]

    def speaking(self) -> Tensor:
        """The number of each slot's speaking lane: int64 [slots]."""
        lane = (self.given - self.warm).div(self.period, rounding_mode="floor").clamp(min=0)
        return torch.minimum(lane, self.last_lane)

    def begin(self, state: State, active: Tensor) -> Tensor:
        """Start lanes that are due; bool [2 * slots], the rows that run in this step."""
        lane = self.speaking()
        number = lane + (lane + self._row) % 2  # of the lane in each row: this one or the next
        start = number * self.period
        runs = active & (start <= self.given) & (number <= self.last_lane)
        state.reset((runs & (start == self.given) & (number > 0)).flatten())
        state.ends.copy_((self.ends - start).flatten())
        return runs.flatten()

    def pick(self, rows: Tensor) -> Tensor:
        """Each slot's speaking row: [2 * slots, ...] -> [slots, ...]."""
        pair = rows.view(2, -1, *rows.shape[1:])
        return torch.where(_over(self.speaking() % 2 == 0, pair[0]), pair[0], pair[1])

    def fade(self, sound: Tensor) -> Tensor:
        """As `pick`, for sound; in a lane's last frame it fades over to the next."""
        pair = sound.view(2, -1, sound.shape[1])
        lane = self.speaking()
        change = (lane + 1) * self.period + self.warm
        leaving = (self.given == change - 1) & (lane < self.last_lane) & (self.warm > 0)
        ramp = torch.linspace(0, 1, sound.shape[1], device=sound.device)
        share = leaving[:, None] * ramp  # of the lane that does not speak yet
        share = torch.where((lane % 2 == 0)[:, None], share, 1 - share)
        return torch.lerp(pair[0], pair[1], share)

    def finish(self, active: Tensor) -> None:
        """One frame more was given out in active slots."""
        self.given.add_(active)

    def end(self, mask: Tensor, frames: Tensor) -> None:
        """The slots of `mask` have `frames` (int64 [slots]) frames left; what fits stays put."""
        torch.where(mask, self.speaking(), self.last_lane, out=self.last_lane)
        torch.where(mask, self.given + frames, self.ends, out=self.ends)

    def reset(self, mask: Tensor) -> None:
        """Fresh streams in the slots of `mask`."""
        self.given.masked_fill_(mask, 0)
        self.ends.masked_fill_(mask, OPEN)
        self.last_lane.masked_fill_(mask, OPEN)


def _over(mask: Tensor, x: Tensor) -> Tensor:
    """[slots] shaped to broadcast over [slots, ...]."""
    return mask.view(-1, *[1] * (x.ndim - 1))
