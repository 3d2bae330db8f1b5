"""Trains discriminators against the codec, on decoded speech and recordings."""

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
QUIETEST = 1e-3  # RMS; quieter crops are scaled as if they had this one


class Losses(NamedTuple):
    """The losses of one step.

    Args:
        loss: a scalar with the gradient of the codec's loss, not its value.
        codec: the value of the codec's loss: scores and feature matching.
        discriminators: the value of the discriminators' hinge loss; 2 if they guess.
    """

    loss: Tensor
    codec: float
    discriminators: float


class Adversary:
    """The discriminators and their optimizer.

    Args:
        share: share of each batch that is drawn; the discriminators get these crops whole.
        dtype: dtype of their convolutions.
        seed: seed of the drawing.
    """

    def __init__(self, share: float, dtype: torch.dtype, seed: int, device: torch.device) -> None:
        self.discriminators = discriminators().to(device)
        self.share, self.dtype, self.device = share, dtype, device
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.AdamW(self.discriminators.parameters(), lr=RATE, betas=BETAS)

    def draw(self, decoded: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Draws rows of [batch, samples] and scales both so that the target's RMS is 1.

        At the level of speech, discriminators learn nothing for hundreds of steps.
        """
        count = max(1, round(self.share * len(target)))
        rows = torch.randperm(len(target), generator=self.generator)[:count]
        ours, theirs = (wav[rows.to(wav.device)] for wav in (decoded, target))
        level = theirs.square().mean(1, keepdim=True).sqrt().clamp(min=QUIETEST)
        return ours / level, theirs / level

    def step(self, decoded: Tensor, target: Tensor) -> Losses:
        """Trains the discriminators on [batch, samples]; returns the codec's loss before that.

        Each discriminator runs once on either sound; both gradients come from these runs.
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
            hinge = F.relu(1 - real[-1].float()).mean() + F.relu(1 + fake[-1].float()).mean()
            paid = -fake[-1].float().mean()
            for ours_seen, theirs_seen in zip(fake[:-1], real[:-1], strict=True):
                seen = theirs_seen.detach().float()
                distance = (ours_seen.float() - seen).abs().mean()
                distance = distance / seen.abs().mean().clamp(min=1e-4)
                paid = paid + FEATURES * distance / (len(fake) - 1)
            gradient += torch.autograd.grad(paid / count, fake_wav, retain_graph=True)[0]
            parameters = [*discriminator.parameters()]
            gradients = torch.autograd.grad(hinge / count, parameters)
            for parameter, found in zip(parameters, gradients, strict=True):
                parameter.grad = found
            codec += paid.item() / count
            learned += hinge.item() / count
        self.optimizer.step()
        return Losses((ours * gradient).sum(), codec, learned)

    def state_dict(self) -> dict[str, Any]:
        """Returns all that is needed to resume."""
        return {
            "discriminators": self.discriminators.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.discriminators.load_state_dict(state["discriminators"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
