"""Adversarial training: discriminators that learn to tell decoded speech from recordings."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from xyt_stream.model.precision import precision
from xyt_stream.train.discriminators import discriminators

RATE = 5e-4
BETAS = (0.8, 0.99)
FEATURES = 2.0  # weight of feature matching beside the scores
QUIETEST = 1e-3  # amplitude; quieter crops are not made louder than this one would be


class Verdict(NamedTuple):
    """What one step of the discriminators brought.

    Args:
        loss: a scalar whose gradient is that of the codec's loss.
        codec: value of the codec's loss: scores and feature matching.
        discriminators: value of theirs (hinge loss), 2 for one that guesses.
    """

    loss: Tensor
    codec: float
    discriminators: float


class Adversary:
    """The discriminators and their optimizer.

    Args:
        crops: of each batch that they see, drawn at random; they see whole crops.
        dtype: they compute in.
        seed: of the draw.
    """

    def __init__(self, crops: int, dtype: torch.dtype, seed: int, device: torch.device) -> None:
        self.discriminators = discriminators().to(device)
        self.crops, self.dtype, self.device = crops, dtype, device
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.AdamW(self.discriminators.parameters(), lr=RATE, betas=BETAS)

    def draw(self, decoded: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Some rows of both, [batch, samples], scaled so that the target's RMS is 1.

        Discriminators of sound as quiet as speech is learn nothing for hundreds of steps.
        """
        rows = torch.randperm(len(target), generator=self.generator)[: self.crops]
        ours, theirs = (wav[rows.to(wav.device)] for wav in (decoded, target))
        level = theirs.square().mean(1, keepdim=True).sqrt().clamp(min=QUIETEST)
        return ours / level, theirs / level

    def step(self, decoded: Tensor, target: Tensor) -> Verdict:
        """One step of the discriminators on [batch, samples], and the codec's loss before it.

        Both gradients come from one pass through each discriminator.
        """
        ours, theirs = self.draw(decoded, target)
        fake_wav = ours.detach().requires_grad_(True)
        gradient = torch.zeros_like(fake_wav)
        codec = learned = 0.0
        count = len(self.discriminators)
        self.optimizer.zero_grad(set_to_none=True)
        for discriminator in self.discriminators:
            with precision(self.device, self.dtype):
                real, fake = discriminator(theirs), discriminator(fake_wav)
            told = F.relu(1 - real[-1].float()).mean() + F.relu(1 + fake[-1].float()).mean()
            paid = -fake[-1].float().mean()
            for ours_seen, theirs_seen in zip(fake[:-1], real[:-1], strict=True):
                seen = theirs_seen.detach().float()
                distance = (ours_seen.float() - seen).abs().mean()
                distance = distance / seen.abs().mean().clamp(min=1e-4)
                paid = paid + FEATURES * distance / (len(fake) - 1)
            gradient += torch.autograd.grad(paid / count, fake_wav, retain_graph=True)[0]
            parameters = [*discriminator.parameters()]
            gradients = torch.autograd.grad(told / count, parameters)
            for parameter, found in zip(parameters, gradients, strict=True):
                parameter.grad = found
            codec += paid.item() / count
            learned += told.item() / count
        self.optimizer.step()
        return Verdict((ours * gradient).sum(), codec, learned)

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs."""
        return {
            "discriminators": self.discriminators.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Back from `state_dict`."""
        self.discriminators.load_state_dict(state["discriminators"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
