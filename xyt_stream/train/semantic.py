"""Computes semantic losses: small heads predict a teacher's features and text from latents.

The heads are not part of the released model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xyt_stream.model.quantizer import Quantized
from xyt_stream.train.data import Batch, load
from xyt_stream.train.text import CTCHead, Transcript, Transcripts, collate

KERNEL = 3  # frames a prediction reads
HIDDEN = 512
SAMPLE = 20_000  # frames that the features' mean and spread are taken from


class TeacherHead(nn.Module):
    """Predicts the teacher's features from latents.

    Args:
        dim: channels of the latents.
        features: the teacher's, [frames, channels]. Each channel is normalised by its mean and
            standard deviation here, because a few channels are nearly constant and far larger
            than the others.
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
        """Returns the mean cosine distance, 0 to 2, over the frames that have features.

        Args:
            latent: [batch, frames, dim].
            features: [batch, frames, channels].
            known: bool [batch, frames].
        """
        hidden = F.gelu(self.conv(latent.transpose(1, 2))).transpose(1, 2)
        wanted = (features - self.mean) / self.spread
        distance = 1 - F.cosine_similarity(self.out(hidden), wanted, dim=-1)
        return (distance * known).sum() / known.sum().clamp(min=1)


class SemanticHeads(nn.Module):
    """All heads and their losses.

    Two teacher heads, of the first codebook alone and of all codebooks, make the first codebook
    carry most of the meaning.

    Args:
        dim: channels of the latents.
        features: the teacher's; None: no teacher.
        transcripts: clips with text; None: no text.
        encode: samples -> latents and their quantization.
        device: the device of the latents.
    """

    def __init__(
        self,
        dim: int,
        features: npt.NDArray[np.float16] | None,
        transcripts: Transcripts | None,
        encode: Callable[[Tensor], tuple[Tensor, Quantized]],
        device: torch.device,
    ) -> None:
        super().__init__()
        self.first = None if features is None else TeacherHead(dim, features)
        self.total = None if features is None else TeacherHead(dim, features)
        self.ctc = None if transcripts is None else CTCHead(dim, len(transcripts.alphabet))
        self.transcripts, self.encode, self.device = transcripts, encode, device
        self._texts: Iterator[tuple[Tensor, list[Transcript]]] | None = None

    def teacher_loss(self, batch: Batch, latent: Tensor, found: Quantized) -> Tensor | None:
        """Returns the mean distance of both heads; None without a teacher."""
        if self.first is None or self.total is None:
            return None
        assert batch.features is not None
        assert batch.known is not None
        features, known = batch.features.to(self.device), batch.known.to(self.device)
        chosen = found.residuals[0] - found.residuals[1]  # the vector of the first codebook
        first = self.first.loss(straight_through(latent, chosen), features, known)
        total = self.total.loss(straight_through(latent, found.total), features, known)
        return (first + total) / 2

    def text_loss(self, step: int) -> Tensor | None:
        """Returns the CTC loss of the clips of this step; None without text."""
        if self.transcripts is None or self.ctc is None:
            return None
        if self._texts is None:
            self._texts = load(self.transcripts, count(step), self.device)
        wav, clips = next(self._texts)
        latent, found = self.encode(wav.to(self.device))
        return self.ctc.loss(straight_through(latent, found.total), clips)

    @torch.no_grad()
    def text_error(self) -> float | None:
        """Returns the character error rate on the clips that are held out; None without text."""
        if self.transcripts is None or self.ctc is None:
            return None
        errors = []
        for clip in self.transcripts.kept:
            wav, clips = collate([clip])
            _, found = self.encode(wav.to(self.device))
            errors.append(self.ctc.error_rate(found.total, clips))
        return sum(errors) / len(errors)

    def restart_loading(self) -> None:
        """Forgets the batches in preparation, after the step has changed."""
        self._texts = None


def straight_through(latent: Tensor, quantized: Tensor) -> Tensor:
    """Returns `quantized` with a gradient that passes unchanged to `latent`."""
    return latent + (quantized - latent).detach()
