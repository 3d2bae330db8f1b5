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
        self.held = torch.zeros(slots, *shape, dtype=torch.float32, device=device)
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
        self.slots = slots
        self.window = window
        self.lookahead = lookahead
        self.warm = min(OVERLAP, usable // 2)
        self.period = usable - self.warm
        # Frames that two lanes in turn can share: one is over when the other has `warm` frames and
        # what it looks ahead to. A stream's last frames may look past the window.
        self.capacity = window + max(1, self.warm) + lookahead
        self.given = torch.zeros(slots, dtype=torch.int64, device=device)
        self.ends = torch.full((slots,), OPEN, device=device)
        self.last_lane = torch.full((slots,), OPEN, device=device)
        self._row = torch.arange(2, device=device)

    def speaking(self, slots: int) -> Tensor:
        """The number of the speaking lane of each of the first `slots` slots: int64 [slots]."""
        ahead = self.given[:slots] - self.warm
        lane = ahead.div(self.period, rounding_mode="floor").clamp(min=0)
        return torch.minimum(lane, self.last_lane[:slots])

    def begin(self, state: State, active: Tensor, lane: int | None = None) -> tuple[Tensor, Tensor]:
        """Start lanes that are due in the first len(active) slots.

        Args:
            state: of these slots' rows: both of each, or those of `lane`.

        Returns:
            Which rows run in this step, bool [rows], and where in its slot's ring the lane of each
            begins, in frames: int64 [rows].
        """
        given = self.given[: len(active), None]
        number, runs = self._running(active)
        if lane is not None:
            number, runs = number[:, lane : lane + 1], runs[:, lane : lane + 1]
        start = number * self.period
        state.reset((runs & (start == given) & (number > 0)).flatten())
        state.ends.copy_((self.ends[: len(active), None] - start).flatten())
        return runs.flatten(), (number * self.window % self.capacity).flatten()

    def _running(self, active: Tensor) -> tuple[Tensor, Tensor]:
        """The number of the lane in each row, and whether it runs: [slots, 2]."""
        slots = len(active)
        speaking = self.speaking(slots)[:, None]
        number = speaking + (speaking + self._row) % 2  # this one or the next
        due = number * self.period <= self.given[:slots, None]
        return number, active[:, None] & due & (number <= self.last_lane[:slots, None])

    def sole(self, active: Tensor) -> int | None:
        """The lane (0 or 1) that is the only one to run in every active slot, if there is one.

        It asks what the numbers are, so it is for a CPU only.
        """
        first, second = self._running(active)[1].any(0).tolist()
        return None if first and second else int(second)

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
        ramp = torch.linspace(0, 1, sound.shape[1], dtype=sound.dtype, device=sound.device)
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
