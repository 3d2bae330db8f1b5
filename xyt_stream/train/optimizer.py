"""Optimizes the hidden matrices with Muon and everything else with AdamW."""

from __future__ import annotations

import math

import torch
from torch import nn

from xyt_stream.train.muon import Muon

MUON_RATE = 0.01
ADAMW_RATE = 1e-3
WARMUP = 50  # steps
FINAL = 0.02  # of the peak rate, where the cosine ends


class Optimizer:
    """Both optimizers under one cosine schedule.

    Muon orthogonalises the updates of two-dimensional hidden weights; here it needed a sixth of
    AdamW's steps for the same quality.

    Args:
        network: all its parameters that require gradients are trained, heads by AdamW.
        rate: factor of the peak learning rates.
        dtype: dtype of Muon's products.
    """

    def __init__(self, network: nn.Module, *, rate: float, dtype: torch.dtype) -> None:
        hidden: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                (hidden if parameter.ndim == 2 and "head" not in name else rest).append(parameter)
        self.peaks = (rate * MUON_RATE, rate * ADAMW_RATE)
        self.steps = 0
        self.parts = [
            Muon(hidden, lr=self.peaks[0], dtype=dtype),
            torch.optim.AdamW(rest, lr=self.peaks[1], betas=(0.8, 0.99), weight_decay=0.01),
        ]

    def step(self, progress: float) -> None:
        """Applies and clears the gradients; `progress` is the place in the schedule, 0 to 1."""
        cosine = FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * progress))
        self.steps += 1
        for part, peak in zip(self.parts, self.peaks, strict=True):
            for group in part.param_groups:
                group["lr"] = peak * cosine * min(1.0, self.steps / WARMUP)
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, object]:
        """Returns the states of both optimizers."""
        return {"steps": self.steps, "parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores what `state_dict` returned."""
        steps, parts = state["steps"], state["parts"]
        assert isinstance(steps, int)
        assert isinstance(parts, list)
        self.steps = steps
        for part, saved in zip(self.parts, parts, strict=True):
            part.load_state_dict(saved)
