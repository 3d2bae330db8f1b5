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
        """Move active slots, of the first len(x), on by [slots, ..., hop]; what they hold now."""
        held, moved = self.held[: len(x)], self._next[: len(x)]
        moved[..., : -self.hop] = held[..., self.hop :]
        moved[..., -self.hop :] = x
        return torch.where(_over(active, x), moved, held, out=held)


class Lanes:
    """Which of each slot's two lanes speaks, and which one warms up.

    A slot's lanes are rows 2 * slot and 2 * slot + 1. Its lane number k, in row k % 2, starts at
    frame k * period and speaks from `warm` frames after that; the first speaks at once.

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
        self._row = torch.arange(2, device=device)

    def speaking(self, slots: int) -> Tensor:
        """The number of the speaking lane of each of the first `slots` slots: int64 [slots]."""
        ahead = self.given[:slots] - self.warm
        lane = ahead.div(self.period, rounding_mode="floor").clamp(min=0)
        return torch.minimum(lane, self.last_lane[:slots])

    def begin(self, state: State, active: Tensor) -> Tensor:
        """Start lanes that are due in the first len(active) slots.

        Returns:
            bool [2 * slots]: the rows that run in this step.
        """
        slots = len(active)
        lane = self.speaking(slots)[:, None]
        given = self.given[:slots, None]
        number = lane + (lane + self._row) % 2  # of the lane in each row: this one or the next
        start = number * self.period
        runs = active[:, None] & (start <= given) & (number <= self.last_lane[:slots, None])
        rows = state.first(2 * slots)
        rows.reset((runs & (start == given) & (number > 0)).flatten())
        rows.ends.copy_((self.ends[:slots, None] - start).flatten())
        return runs.flatten()

    def pick(self, rows: Tensor) -> Tensor:
        """Each slot's speaking row: [2 * slots, ...] -> [slots, ...]."""
        slots = len(rows) // 2
        pair = rows.view(slots, 2, *rows.shape[1:])
        return torch.where(_over(self.speaking(slots) % 2 == 0, pair[:, 0]), pair[:, 0], pair[:, 1])

    def fade(self, sound: Tensor) -> Tensor:
        """As `pick`, for sound; in a lane's last frame it fades over to the next."""
        slots = len(sound) // 2
        pair = sound.view(slots, 2, sound.shape[1])
        lane = self.speaking(slots)
        change = (lane + 1) * self.period + self.warm
        leaving = (self.given[:slots] == change - 1) & (lane < self.last_lane[:slots])
        leaving &= self.warm > 0
        ramp = torch.linspace(0, 1, sound.shape[1], device=sound.device)
        share = leaving[:, None] * ramp  # of the lane that does not speak yet
        share = torch.where((lane % 2 == 0)[:, None], share, 1 - share)
        return torch.lerp(pair[:, 0], pair[:, 1], share)

    def finish(self, active: Tensor) -> None:
        """One frame more was given out in active slots."""
        self.given[: len(active)].add_(active)

    def end(self, mask: Tensor, frames: Tensor) -> None:
        """The slots of `mask` have `frames` (int64 [slots]) frames left; what fits stays put."""
        lane = self.speaking(len(mask))
        torch.where(mask, lane, self.last_lane, out=self.last_lane)
        torch.where(mask, self.given + frames, self.ends, out=self.ends)

    def move(self, source: int, target: int) -> None:
        """Put one slot's count into another."""
        for tensor in (self.given, self.ends, self.last_lane):
            tensor[target].copy_(tensor[source])

    def reset(self, mask: Tensor) -> None:
        """Fresh streams in the slots of `mask`."""
        self.given.masked_fill_(mask, 0)
        self.ends.masked_fill_(mask, OPEN)
        self.last_lane.masked_fill_(mask, OPEN)


def _over(mask: Tensor, x: Tensor) -> Tensor:
    """[slots] shaped to broadcast over [slots, ...]."""
    return mask.view(-1, *[1] * (x.ndim - 1))
