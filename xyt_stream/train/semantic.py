"""Meaning: the quantized latents must predict what a teacher heard, by heads that never ship."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 3  # frames a prediction reads
HIDDEN = 512
SAMPLE = 20_000  # frames that the features' mean and spread are taken from


class TeacherHead(nn.Module):
    """Predicts a teacher's features from latents, frame by frame.

    Args:
        dim: channels of the latents.
        features: the teacher's, [frames, channels], to take their mean and spread from: a few
            channels are far larger than all others, and nearly constant.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, dim: int, features: npt.NDArray[np.float16]) -> None:
        super().__init__()
        channels = features.shape[1]
        sample = np.asarray(features[:: max(1, len(features) // SAMPLE)], np.float32)
        sample = sample[sample.any(1)]
        self.register_buffer("mean", torch.from_numpy(sample.mean(0)))
        self.register_buffer("spread", torch.from_numpy(sample.std(0)).clamp(min=1e-3))
        self.conv = nn.Conv1d(dim, HIDDEN, KERNEL, padding=KERNEL // 2)
        self.out = nn.Linear(HIDDEN, channels)

    def loss(self, latent: Tensor, features: Tensor, known: Tensor) -> Tensor:
        """Mean cosine distance, 0 to 2, where the features are known.

        Args:
            latent: [batch, frames, dim].
            features: [batch, frames, channels].
            known: bool [batch, frames].
        """
        hidden = F.gelu(self.conv(latent.transpose(1, 2))).transpose(1, 2)
        wanted = (features - self.mean) / self.spread
        distance = 1 - F.cosine_similarity(self.out(hidden), wanted, dim=-1)
        return (distance * known).sum() / known.sum().clamp(min=1)
