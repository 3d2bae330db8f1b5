"""Implements convolutions in time: each declares its left context, which its timeline provides."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xyt_stream.model.linear import Linear, Prepackable
from xyt_stream.model.timeline import Tailed, Timeline

SHORT = 16  # positions; up to here DepthwiseConv adds up products


class Convolution(Tailed):
    """Base of the 1-D convolutions: how many positions they read around each.

    A causal one reads only the past. A centred one, as in the published model, reads zeros beyond
    its last position, or, if it does not pad, positions of the future that are part of its input.
    """

    def set_context(self, channels: int, others: int, *, causal: bool, pads: bool = True) -> None:
        """Declare that each position reads `others` positions of `channels` beside itself."""
        self.channels = channels
        self.left = others if causal else (others + 1) // 2
        right = others - self.left
        self.pad = right if pads else 0
        self.ahead = 0 if pads else right


class Conv(Convolution, Prepackable):
    """1-D convolution with length / stride outputs, as a linear map of its windows.

    Args:
        causal, pads: as of Convolution.
        gelu: whether F.gelu follows.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        *,
        causal: bool,
        stride: int = 1,
        pads: bool = True,
        gelu: bool = False,
    ) -> None:
        super().__init__(gelu=gelu)
        self.set_context(channels, kernel - stride, causal=causal, pads=pads)
        self.stride = stride
        conv = nn.Conv1d(channels, out_channels, kernel)
        self.weight, self.bias = conv.weight, conv.bias

    def plain(self) -> tuple[Tensor, Tensor | None]:
        return self.weight.flatten(1), self.bias

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """[batch, length + ahead, channels] -> [batch, length / stride, out_channels]."""
        windows = timeline.extend(self, x).unfold(1, self.weight.shape[2], self.stride)
        return self.map(windows.flatten(2))  # of [batch, out, channels, kernel]


class DepthwiseConv(Convolution):
    """1-D convolution of each channel alone."""

    def __init__(self, channels: int, kernel: int, *, causal: bool) -> None:
        super().__init__()
        self.set_context(channels, kernel - 1, causal=causal)
        conv = nn.Conv1d(channels, channels, kernel, groups=channels)
        assert conv.bias is not None
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """[batch, length, channels] -> the same."""
        long, x = x.shape[1], timeline.extend(self, x)
        if long > SHORT:
            x = F.conv1d(x.transpose(1, 2), self.weight, self.bias, groups=self.channels)
            return x.transpose(1, 2)
        # For a frame or two it is quicker to add up one product for each place in the kernel, in
        # float32 as conv1d does.
        out, wide = self.bias.float(), x.float()
        for place, weight in enumerate(self.weight[:, 0].float().unbind(1)):
            out = torch.addcmul(out, wide.narrow(1, place, long), weight)
        return out.to(x.dtype)


class Deconv(Tailed, Prepackable):
    """Transposed 1-D convolution, cut on the right to length * stride positions.

    Its output depends on the past only: output n sums inputs n // stride and before. So it is a
    linear map of a window of inputs to `stride` outputs.
    """

    def __init__(
        self, channels: int, out_channels: int, kernel: int, *, stride: int = 1, gelu: bool = False
    ) -> None:
        super().__init__(gelu=gelu)
        self.channels, self.out_channels = channels, out_channels
        self.left = (kernel - 1) // stride
        self.stride = stride
        conv = nn.ConvTranspose1d(channels, out_channels, kernel, stride)
        assert conv.bias is not None
        self.weight, self.bias = conv.weight, conv.bias

    def plain(self) -> tuple[Tensor, Tensor | None]:
        window = self.left + 1
        weight = F.pad(self.weight, (0, window * self.stride - self.weight.shape[2]))
        weight = weight.view(self.channels, self.out_channels, window, self.stride)
        # [phase of the output, out_channels, channels, input], the oldest input first
        weight = weight.flip(2).permute(3, 1, 0, 2)
        return weight.flatten(2).flatten(0, 1), self.bias.repeat(self.stride)

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """[batch, length, channels] -> [batch, length * stride, out_channels]."""
        windows = timeline.extend(self, x).unfold(1, self.left + 1, 1)
        out = self.map(windows.flatten(2))  # [batch, length, stride * out_channels]
        return out.view(x.shape[0], -1, self.out_channels)


class Downsample(nn.Module):
    """Four 50 Hz positions become one code frame (the published ResidualDownConv)."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        joined = width * factor
        self.factor = factor
        # Stride equals kernel, so the two convolutions are linear maps of the joined positions.
        self.gate_proj = Linear(joined, joined, bias=False, row_invariant=True)
        self.up_proj = Linear(joined, joined, bias=False, row_invariant=True)
        self.down_proj = Linear(joined, joined, bias=False, row_invariant=True)
        self.layer_norm = nn.LayerNorm(joined)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, length, width] -> [batch, length / factor, width * factor]."""
        batch, length, width = x.shape
        frames = length // self.factor
        rows = x.reshape(batch * frames, self.factor * width)
        gated = F.silu(self.gate_proj(rows)) * self.up_proj(rows)
        out: Tensor = self.layer_norm(self.down_proj(gated) + rows)
        return out.view(batch, frames, self.factor * width)


class Upsample(nn.Module):
    """One code frame becomes four 50 Hz positions (the published UpConv)."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.width = width
        self.up_conv = Linear(width * factor, width * factor, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, length, width * factor] -> [batch, length * factor, width]."""
        out: Tensor = self.up_conv(x).reshape(x.shape[0], -1, self.width)
        return out
