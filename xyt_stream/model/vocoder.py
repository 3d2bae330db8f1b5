"""Implements the vocoder, Vocos (arXiv 2306.00814): ConvNeXt blocks at 100 Hz, inverse STFT."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xyt_stream.model.config import VocoderConfig
from xyt_stream.model.layers import Conv, DepthwiseConv
from xyt_stream.model.linear import Linear
from xyt_stream.model.phasors import inverse_transform
from xyt_stream.model.precision import full_precision
from xyt_stream.model.timeline import Overlapping, Timeline

NORM_EPS = 1e-6
MAX_MAGNITUDE = 1e2


class ConvNeXt(nn.Module):
    """Depthwise convolution, norm, two linear maps, a learned scale, and the input again."""

    def __init__(self, config: VocoderConfig, *, causal: bool) -> None:
        super().__init__()
        self.dwconv = DepthwiseConv(config.width, 7, causal=causal)
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.pwconv1 = Linear(config.width, config.ffn, gelu=True)
        self.pwconv2 = Linear(config.ffn, config.width)
        self.gamma = nn.Parameter(torch.full((config.width,), 1 / config.blocks))

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """[batch, length, width] -> the same."""
        y = self.pwconv2(self.pwconv1(self.norm(self.dwconv(x, timeline))))
        return torch.addcmul(x, self.gamma, y)


class ISTFTHead(Overlapping):
    """Log magnitude and phase for each frame, inverse FFT, overlap-add."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.n_fft, self.hop = config.n_fft, config.hop
        self.out = Linear(config.width, config.n_fft + 2)
        window = torch.hann_window(config.n_fft, dtype=torch.float32, device="cpu")
        self.register_buffer("window", window, persistent=False)

    @full_precision
    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """[batch, length, width] -> samples [batch, length * hop]."""
        log_magnitude, phase = self.out(x.float()).chunk(2, dim=-1)
        magnitude = log_magnitude.exp().clamp(max=MAX_MAGNITUDE)
        windows = inverse_transform(magnitude, phase, self.n_fft)
        return timeline.overlap_add(self, windows * self.window)


class Vocoder(nn.Module):
    """Mel-like features to a waveform."""

    def __init__(self, config: VocoderConfig, channels: int, *, causal: bool) -> None:
        super().__init__()
        self.embed = Conv(channels, config.width, 7, causal=causal)
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.blocks = nn.ModuleList(ConvNeXt(config, causal=causal) for _ in range(config.blocks))
        self.final_layer_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.head = ISTFTHead(config)

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """[batch, length, channels] -> samples [batch, length * hop]."""
        x = self.norm(self.embed(x, timeline))
        for block in self.blocks:
            x = block(x, timeline)
        out: Tensor = self.head(self.final_layer_norm(x), timeline)
        return out
