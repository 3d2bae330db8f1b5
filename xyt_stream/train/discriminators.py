"""Implements discriminators of recorded and decoded sound, small enough to train on a CPU."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

PERIODS = (2, 3, 5, 7, 11)
WINDOWS = (2048, 1024, 512, 256)
SLOPE = 0.1  # of the leaky ReLU
COMPRESSION = 0.5  # exponent of magnitudes: else loud low bands hide quiet high ones
SILENCE = 1e-6  # added to the power: the compressed magnitude has no slope at zero


def _conv(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.Module:
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    # PyTorch's default start shrinks activations threefold a layer: the last would see biases only.
    nn.init.kaiming_normal_(conv.weight, SLOPE)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    module: nn.Module = weight_norm(conv)
    return module


class Discriminator(nn.Module):
    """Convolutions, each followed by a leaky ReLU; the last one scores each place.

    Args:
        channels: from the input's on.
        kernel, stride: of all but the last convolution.
    """

    def __init__(
        self, channels: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int]
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(a, b, kernel, stride) for a, b in pairwise(channels))
        self.score = _conv(channels[-1], 1, (3, 3), (1, 1))

    def image(self, wav: Tensor) -> Tensor:
        """[batch, samples] -> [batch, channels, rows, columns]."""
        raise NotImplementedError

    def forward(self, wav: Tensor) -> list[Tensor]:
        """[batch, samples] -> every convolution's output, the score last."""
        x = self.image(wav)
        features = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            features.append(x)
        return [*features, self.score(x)]


class PeriodDiscriminator(Discriminator):
    """Takes the waveform in rows of `period` samples (HiFi-GAN, arXiv 2010.05646)."""

    def __init__(self, period: int) -> None:
        super().__init__((1, 16, 32, 64, 64), kernel=(5, 1), stride=(3, 1))
        self.period = period

    def image(self, wav: Tensor) -> Tensor:
        usable = wav.shape[1] // self.period * self.period
        return wav[:, None, :usable].unflatten(2, (-1, self.period))  # type: ignore[no-untyped-call, no-any-return]


class SpectrumDiscriminator(Discriminator):
    """Takes a complex spectrogram with compressed magnitudes (EnCodec, arXiv 2210.13438)."""

    window: Tensor

    def __init__(self, n_fft: int) -> None:
        super().__init__((2, 16, 32, 32, 32), kernel=(3, 9), stride=(1, 2))
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def image(self, wav: Tensor) -> Tensor:
        windows = wav.unfold(-1, self.n_fft, self.n_fft // 4) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(windows, norm="ortho"))
        power = spectrum.square().sum(-1, keepdim=True) + SILENCE
        return (spectrum * power ** ((COMPRESSION - 1) / 2)).permute(0, 3, 1, 2)


def discriminators() -> nn.ModuleList:
    """Returns one discriminator for each period and each window."""
    return nn.ModuleList([*map(PeriodDiscriminator, PERIODS), *map(SpectrumDiscriminator, WINDOWS)])
