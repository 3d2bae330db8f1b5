"""Learns codebooks: k-means, then moving averages, with restarts of dead codes."""

from __future__ import annotations

import torch
from torch import Tensor

from xyt_stream.model.quantizer import Quantized, ResidualQuantizer

KMEANS_ROUNDS = 12
DECAY = 0.99
DEAD = 0.02  # of a fair share of the vectors; a code used less is given a new place


def kmeans(vectors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Finds `count` centres of [vectors, dim]; an empty one restarts on a random vector."""
    pick = torch.randperm(len(vectors), generator=generator)[:count].to(vectors.device)
    centres = vectors[pick].clone()
    for _ in range(KMEANS_ROUNDS):
        nearest = torch.cdist(vectors, centres).argmin(1)
        sizes = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        spare = torch.randint(len(vectors), (count,), generator=generator).to(vectors.device)
        centres = torch.where(
            sizes[:, None] > 0, sums / sizes[:, None].clamp(min=1), vectors[spare]
        )
    return centres


class CodebookLearner:
    """Moves a quantizer's codebooks after each step (van den Oord et al., 2017, appendix A.1).

    Args:
        quantizer: whose codebooks are written.
        seed: for the places dead codes are given.
    """

    def __init__(self, quantizer: ResidualQuantizer, seed: int) -> None:
        self.quantizer = quantizer
        self.generator = torch.Generator().manual_seed(seed)
        codebooks = quantizer.codebooks
        self.counts = torch.zeros(codebooks.shape[:2], device=codebooks.device)
        self.sums = torch.zeros_like(codebooks)
        self.started = False

    @torch.no_grad()
    def start(self, latents: Tensor) -> None:
        """Runs k-means on many latents [vectors, dim]: one batch alone starves most codes."""
        residual = latents
        for codebook in self.quantizer.codebooks:
            codebook.copy_(kmeans(residual, len(codebook), self.generator))
            nearest = torch.cdist(residual, codebook).argmin(1)
            residual = residual - codebook[nearest]
        self.quantizer.refresh()
        self.adopt()

    @torch.no_grad()
    def adopt(self) -> None:
        """Continues from the present codebooks: they become the moving averages."""
        self.counts.fill_(1.0)
        self.sums.copy_(self.quantizer.codebooks)
        self.started = True

    @torch.no_grad()
    def update(self, found: Quantized) -> None:
        """Takes one step of the moving averages.

        A vector moves to the mean of the residuals that were given its code; where a beam chose the
        codes together, to that of what all other codebooks leave of the latents.
        """
        size = self.quantizer.config.codebook_size
        left = (found.residuals[0] - found.total).flatten(0, 1)
        for i, codebook in enumerate(self.quantizer.codebooks):
            code, residual = found.codes[i].flatten(), found.residuals[i].flatten(0, 1)
            wanted = left + codebook[code] if self.quantizer.config.beam > 1 else residual
            used = torch.bincount(code, minlength=size).float()
            self.counts[i].lerp_(used, 1 - DECAY)
            self.sums[i].lerp_(torch.zeros_like(codebook).index_add_(0, code, wanted), 1 - DECAY)
            fair = len(code) / size
            dead = self.counts[i] < DEAD * fair
            spare = torch.randint(len(residual), (size,), generator=self.generator)
            self.sums[i] = torch.where(
                dead[:, None], residual[spare.to(codebook.device)] * fair, self.sums[i]
            )
            self.counts[i].masked_fill_(dead, fair)
            codebook.copy_(self.sums[i] / self.counts[i][:, None])
        self.quantizer.refresh()

    def state_dict(self) -> dict[str, Tensor | bool]:
        """Returns all that is needed to resume beside the codebooks themselves."""
        return {
            "counts": self.counts,
            "sums": self.sums,
            "started": self.started,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        self.counts.copy_(state["counts"])
        self.sums.copy_(state["sums"])
        self.started = bool(state["started"])
        self.generator.set_state(state["generator"].cpu())
