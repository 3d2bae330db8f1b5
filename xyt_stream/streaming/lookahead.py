"""Gives live streams of a bidirectional network their lookahead, and changes their windows.

A bidirectional network gives out a frame once it has seen R frames more. Its absolute positions end
with its window (30 s), so a long stream must change to a new window, which it begins 10 s before
the change. So each slot has two lanes: while one is current, whose results are given out, the
other one starts with empty state and computes 10 s without output; then they change places.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xyt_stream.errors import ModelError
from xyt_stream.streaming.state import OPEN, StreamState

OVERLAP = 125  # frames (10 s) by which the published windows overlap


class LookaheadBuffer:
    """The newest items (samples or latents) of each slot, the input of a step.

    Args:
        shape: of one slot's items, time last.
        hop: items that each step adds.
    """

    def __init__(self, slots: int, shape: tuple[int, ...], hop: int, device: torch.device) -> None:
        self.held = torch.zeros(slots, *shape, dtype=torch.float32, device=device)
        self.hop = hop
        self._next = torch.zeros_like(self.held)

    def prime(self, x: Tensor, mask: Tensor) -> None:
        """Set all items of the slots of `mask` but the first step's.

        Args:
            x: [slots, ..., length - hop].
        """
        self.held[..., self.hop :] = torch.where(_over(mask, x), x, self.held[..., self.hop :])

    def push(self, x: Tensor, active: Tensor) -> Tensor:
        """Add [slots, ..., hop] items to active slots; returns [slots, ..., length].

        Only the first len(x) slots are meant.
        """
        held, moved = self.held[: len(x)], self._next[: len(x)]
        moved[..., : -self.hop] = held[..., self.hop :]
        moved[..., -self.hop :] = x
        return torch.where(_over(active, x), moved, held, out=held)


class Lanes:
    """Counts frames to decide which of each slot's two lanes run, and which one is current.

    A slot's lanes are rows 2 * slot and 2 * slot + 1. Its lane number k, in row k % 2, starts at
    frame k * period and is current from `warm` frames after that; the first is current at once.

    Args:
        window: frames that have positions.
        lookahead: frames that each step sees beyond the one it gives out.

    Raises:
        ModelError: the lookahead leaves no frame of the window.
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
        # Frames that successive lanes share: one is over when the other has `warm` frames and its
        # lookahead. A stream's last frames may look past the window.
        self.capacity = window + max(1, self.warm) + lookahead
        self.given = torch.zeros(slots, dtype=torch.int64, device=device)
        self.ends = torch.full((slots,), OPEN, device=device)
        self.last_lane = torch.full((slots,), OPEN, device=device)
        self._row = torch.arange(2, device=device)

    def current(self, slots: int) -> Tensor:
        """The number of the current lane of each of the first `slots` slots: int64 [slots]."""
        ahead = self.given[:slots] - self.warm
        lane = ahead.div(self.period, rounding_mode="floor").clamp(min=0)
        return torch.minimum(lane, self.last_lane[:slots])

    def begin(
        self, state: StreamState, active: Tensor, lane: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Start the lanes that are due in the first len(active) slots.

        Args:
            state: of these slots' rows: both of each, or only those of `lane`.

        Returns:
            The rows that run in this step, bool [rows], and the frame of its slot's ring at which
            the lane of each begins, int64 [rows].
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
        """The number of the lane in each row, and whether it runs: [slots, 2] both."""
        slots = len(active)
        current = self.current(slots)[:, None]
        number = current + (current + self._row) % 2  # this one or the next
        due = number * self.period <= self.given[:slots, None]
        return number, active[:, None] & due & (number <= self.last_lane[:slots, None])

    def sole(self, active: Tensor) -> int | None:
        """The lane, 0 or 1, that is the only one to run in every active slot; None: both run.

        It reads values back to the host, so it is for a CPU only.
        """
        first, second = self._running(active)[1].any(0).tolist()
        return None if first and second else int(second)

    def pick(self, rows: Tensor) -> Tensor:
        """Each slot's current row: [2 * slots, ...] -> [slots, ...]."""
        slots = len(rows) // 2
        pair = rows.view(slots, 2, *rows.shape[1:])
        return torch.where(_over(self.current(slots) % 2 == 0, pair[:, 0]), pair[:, 0], pair[:, 1])

    def fade(self, sound: Tensor) -> Tensor:
        """As `pick`, for sound; in the last frame of a lane it cross-fades to the next lane."""
        slots = len(sound) // 2
        pair = sound.view(slots, 2, sound.shape[1])
        lane = self.current(slots)
        change = (lane + 1) * self.period + self.warm
        leaving = (self.given[:slots] == change - 1) & (lane < self.last_lane[:slots])
        leaving &= self.warm > 0
        ramp = torch.linspace(0, 1, sound.shape[1], dtype=sound.dtype, device=sound.device)
        share = leaving[:, None] * ramp  # of the other lane
        share = torch.where((lane % 2 == 0)[:, None], share, 1 - share)
        return torch.lerp(pair[:, 0], pair[:, 1], share)

    def finish(self, active: Tensor) -> None:
        """Count the frame that active slots gave out."""
        self.given[: len(active)].add_(active)

    def end(self, mask: Tensor, frames: Tensor) -> None:
        """Note that slots of `mask` have `frames` (int64 [slots]) left, all in their lane."""
        lane = self.current(len(mask))
        torch.where(mask, lane, self.last_lane, out=self.last_lane)
        torch.where(mask, self.given + frames, self.ends, out=self.ends)

    def move(self, source: int, target: int) -> None:
        """Copy one slot's counts into another slot."""
        for tensor in (self.given, self.ends, self.last_lane):
            tensor[target].copy_(tensor[source])

    def slot(self, slot: int) -> dict[str, Tensor]:
        """One slot's counts by name, as views."""
        counts = {"given": self.given, "ends": self.ends, "last_lane": self.last_lane}
        return {name: tensor[slot] for name, tensor in counts.items()}

    def reset(self, mask: Tensor) -> None:
        """Set the slots of `mask` to the start of a stream."""
        self.given.masked_fill_(mask, 0)
        self.ends.masked_fill_(mask, OPEN)
        self.last_lane.masked_fill_(mask, OPEN)


def _over(mask: Tensor, x: Tensor) -> Tensor:
    """`mask`, [slots], in a shape that broadcasts over [slots, ...]."""
    return mask.view(-1, *[1] * (x.ndim - 1))
