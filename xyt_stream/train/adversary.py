"""Adversarial training: judges that learn to tell decoded speech from recordings."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xyt_stream.train.discriminators import judges

RATE = 5e-4
BETAS = (0.8, 0.99)
FEATURES = 2.0  # weight of feature matching beside the judges' own verdict
QUIETEST = 1e-3  # amplitude; quieter pieces are not made louder than this one would be


class Adversary:
    """The judges and their optimizer.

    Args:
        samples: how long a piece of each crop they are shown.
        seed: for where the pieces lie.
    """

    def __init__(self, samples: int, seed: int, device: torch.device) -> None:
        self.judges = judges().to(device)
        self.samples = samples
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.AdamW(self.judges.parameters(), lr=RATE, betas=BETAS)

    def piece(self, decoded: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The same random stretch of both, [batch, samples], as loud as makes the target's RMS 1.

        Judges of sound as quiet as speech is learn nothing for hundreds of steps.
        """
        room = max(1, decoded.shape[1] - self.samples + 1)
        start = int(torch.randint(room, (), generator=self.generator))
        ours, theirs = (wav[:, start : start + self.samples] for wav in (decoded, target))
        level = theirs.square().mean(1, keepdim=True).sqrt().clamp(min=QUIETEST)
        return ours / level, theirs / level

    def learn(self, decoded: Tensor, target: Tensor) -> float:
        """One step of the judges on a piece (hinge loss); the loss, 2 for a judge that guesses."""
        self.judges.requires_grad_(True)
        loss = decoded.new_zeros(())
        for judge in self.judges:
            loss = loss + F.relu(1 - judge(target)[-1]).mean()
            loss = loss + F.relu(1 + judge(decoded.detach())[-1]).mean()
        loss = loss / len(self.judges)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item()

    def loss(self, decoded: Tensor, target: Tensor) -> Tensor:
        """What the codec pays for being told apart: verdicts and distances of features."""
        self.judges.requires_grad_(False)
        total = decoded.new_zeros(())
        for judge in self.judges:
            with torch.no_grad():
                real = judge(target)
            fake = judge(decoded)
            total = total - fake[-1].mean()
            for ours, theirs in zip(fake[:-1], real[:-1], strict=True):
                distance = (ours - theirs).abs().mean() / theirs.abs().mean().clamp(min=1e-4)
                total = total + FEATURES * distance / (len(fake) - 1)
        return total / len(self.judges)

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs."""
        return {
            "judges": self.judges.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Back from `state_dict`."""
        self.judges.load_state_dict(state["judges"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
