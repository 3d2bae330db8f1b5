"""Cuts the input of one stream, in chunks of any size, into the inputs of steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


class Feed:
    """Cuts one stream's input into its lookahead and the inputs of its steps.

    Args:
        empty: input of no length, time last: [0] or [codebooks, 0].
        hop: items (samples or frames) that a step takes.
        lead: items that the stream is primed with before its first step.
        prime: called once, with the stream's first `lead` items, [..., lead].
        end: called when the stream has ended, with the number of frames left to give out.
    """

    def __init__(
        self,
        empty: Tensor,
        *,
        hop: int,
        lead: int,
        prime: Callable[[Tensor], None],
        end: Callable[[int], None],
    ) -> None:
        self.empty = empty
        self._hop, self._lead = hop, lead
        self._prime_with, self._end = prime, end
        self._waiting = empty
        self._primed = lead == 0

    def push(self, x: Tensor) -> list[Tensor]:
        """Take a chunk, [..., any length]; returns the inputs of steps that are whole now."""
        self._waiting = torch.cat([self._waiting, x], dim=-1)
        if not self._primed:
            if self._waiting.shape[-1] < self._lead:
                return []
            self._prime()
        whole = self._waiting.shape[-1] // self._hop * self._hop
        ready = self._waiting[..., :whole]
        self._waiting = self._waiting[..., whole:].clone()
        return list(torch.split(ready, self._hop, dim=-1)) if whole else []

    def flush(self) -> list[Tensor]:
        """End the stream; returns the inputs of its last steps, filled up with zeros."""
        left = self._waiting.shape[-1] + (self._lead if self._primed else 0)
        frames = -(-left // self._hop)
        if frames == 0:
            return []
        padding = frames * self._hop + self._lead - left
        self._waiting = F.pad(self._waiting, (0, padding))
        if not self._primed:
            self._prime()
        self._end(frames)
        return self.push(self.empty)

    def _prime(self) -> None:
        self._prime_with(self._waiting[..., : self._lead])
        self._waiting = self._waiting[..., self._lead :]
        self._primed = True
