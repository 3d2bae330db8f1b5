"""Implements the transformer stacks of encoder, adapters and decoder, pre-norm as in Whisper."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xyt_stream.model.config import StackConfig
from xyt_stream.model.linear import Linear
from xyt_stream.model.phasors import rotary_phasors, rotary_table, rotate
from xyt_stream.model.timeline import Cached, Timeline


def sinusoids(length: int, width: int) -> Tensor:
    """Whisper's absolute positions (arXiv 2212.04356): sines then cosines, [length, width]."""
    step = torch.log(torch.tensor(10_000.0, dtype=torch.float32)) / (width // 2 - 1)
    scales = torch.exp(-step * torch.arange(width // 2, dtype=torch.float32))
    angles = torch.arange(length)[:, None] * scales[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Attention(Cached):
    """Multi-head self-attention over the keys that its timeline holds."""

    def __init__(self, width: int, heads: int, positions_per_frame: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = width // heads
        self.positions_per_frame = positions_per_frame
        self.qkv = Linear(width, 3 * width)
        self.out_proj = Linear(width, width)

    def forward(self, x: Tensor, timeline: Timeline, phasors: Tensor | None) -> Tensor:
        """[batch, length, width] -> the same."""
        batch, length, width = x.shape
        heads = self.qkv(x).view(batch, length, 3 * self.heads, self.head_dim).transpose(1, 2)
        q, k, v = heads.chunk(3, dim=1)
        if phasors is not None:
            q, k = rotate(heads[:, : 2 * self.heads], phasors).chunk(2, dim=1)
        out = timeline.attend(self, q, k, v)
        mixed: Tensor = self.out_proj(out.transpose(1, 2).reshape(batch, length, width))
        return mixed


class Layer(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: StackConfig, positions_per_frame: int) -> None:
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.self_attn = Attention(config.width, config.heads, positions_per_frame)
        self.final_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = Linear(config.width, config.ffn, gelu=True)
        self.fc2 = Linear(config.ffn, config.width)

    def forward(self, x: Tensor, timeline: Timeline, phasors: Tensor | None) -> Tensor:
        """[batch, length, width] -> the same."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), timeline, phasors)
        out: Tensor = x + self.fc2(self.fc1(self.final_layer_norm(x)))
        return out


class Stack(nn.Module):
    """Positions, layers, a last norm; with a projection before and after where sizes differ.

    Args:
        config: the stack's sizes.
        positions_per_frame: 4 at 50 Hz, 1 at 12.5 Hz.
        window: absolute sinusoids for that many positions; None: rotary positions.
        input_width, output_width: default to the stack's own.
    """

    phasors: Tensor
    sinusoids: Tensor

    def __init__(
        self,
        config: StackConfig,
        positions_per_frame: int,
        window: int | None,
        *,
        input_width: int | None = None,
        output_width: int | None = None,
    ) -> None:
        super().__init__()
        width = config.width
        self.rotary = window is None
        with torch.device("cpu"):  # constants are real even in a network without weights
            if window is None:
                phasors = rotary_table(width // config.heads)
                self.register_buffer("phasors", phasors, persistent=False)
            else:
                self.register_buffer("sinusoids", sinusoids(window, width))
        same = (None, width)
        self.proj = nn.Identity() if input_width in same else Linear(input_width or 0, width)
        self.layers = nn.ModuleList(
            Layer(config, positions_per_frame) for _ in range(config.layers)
        )
        self.layer_norm = nn.LayerNorm(width)
        self.out_proj = nn.Identity() if output_width in same else Linear(width, output_width or 0)

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """[batch, length, input_width] -> [batch, length, output_width]."""
        x = self.proj(x)
        length = x.shape[1]
        positions = timeline.positions(length)
        phasors = None
        if self.rotary:
            phasors = rotary_phasors(self.phasors, positions)
        else:
            # Positions past the window's end are of frames past the clip's end: any will do.
            x = x + self.sinusoids[positions.clamp(max=len(self.sinusoids) - 1)]
        for layer in self.layers:
            x = layer(x, timeline, phasors)
        out: Tensor = self.out_proj(timeline.valid(self.layer_norm(x)))
        return out
