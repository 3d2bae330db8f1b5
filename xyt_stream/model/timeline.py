"""What surrounds the sound at hand.

The network is written once. Where a layer must know what came before (a convolution its left edge,
attention its past keys, the overlap-add its tail) or what time it is, it asks its timeline:

- `Clip` answers for a whole clip, offline and in training: before the clip there is silence.
- `xyt_stream.streaming.stream.Stream` answers for one step of live streams, out of cached state.

Time is counted in code frames; a layer at a higher rate has `length // frames` positions in each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xyt_stream.model.config import STEPS_PER_FRAME

if TYPE_CHECKING:
    from xyt_stream.model.transformer import Attention


class Tailed(nn.Module):
    """A layer that reads positions before and after the ones it answers for.

    Attributes:
        channels: of its input.
        left: positions it reads before the first.
        pad: positions it reads after the last, where it is shown silence.
        ahead: positions after the last that it is handed.
        reflects: whether a clip starts with its own mirror image instead of silence.
    """

    channels: int
    left: int
    pad: int = 0
    ahead: int = 0
    reflects: bool = False


class Overlapping(nn.Module):
    """A layer that ends in an overlap-add of windows of `n_fft` samples, `hop` apart."""

    n_fft: int
    hop: int
    window: Tensor  # [n_fft]


class Timeline(Protocol):
    """The questions a layer may ask."""

    frames: int  # code frames at hand

    def extend(self, layer: Tailed, x: Tensor) -> Tensor:
        """[batch, channels, length] -> [batch, channels, left + length + pad]."""
        ...

    def positions(self, length: int) -> Tensor:
        """Where the `length` positions at hand stand: int64 [batch or 1, length]."""
        ...

    def mask(self, length: int) -> Tensor | None:
        """Keys each query may see, bool, broadcast to [batch, heads, queries, keys]; None: all."""
        ...

    def remember(self, layer: Attention, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, heads, length, head_dim] twice -> the keys and values to attend to."""
        ...

    def valid(self, x: Tensor) -> Tensor:
        """[batch, length, channels], with zeros beyond each clip's end."""
        ...

    def loudest(self, mel: Tensor) -> Tensor:
        """The greatest value of [batch, bins, length] that each clip has shown: [batch, 1, 1]."""
        ...

    def overlap_add(self, layer: Overlapping, windows: Tensor) -> Tensor:
        """[batch, windows, n_fft] -> samples [batch, windows * hop], window envelope divided out.

        The first sample that comes out lies (n_fft - hop) / 2 samples into the first window
        ("same" padding).
        """
        ...


def overlap(windows: Tensor, hop: int) -> Tensor:
    """Add windows laid `hop` apart: [batch, count, n_fft] -> [batch, (count - 1) * hop + n_fft]."""
    batch, count, n_fft = windows.shape
    parts = n_fft // hop
    out = windows.new_zeros(batch, count + parts - 1, hop)
    for i in range(parts):
        out[:, i : i + count] += windows[:, :, i * hop : (i + 1) * hop]
    return out.flatten(1)


def envelope(layer: Overlapping, count: int) -> Tensor:
    """What `count` overlapped windows sum to: [(count - 1) * hop + n_fft]."""
    squared = layer.window.square().expand(1, count, layer.n_fft)
    return overlap(squared, layer.hop)[0]


class Clip:
    """Whole clips, with nothing before them.

    Args:
        frames: code frames in the longest clip, a last partial one included.
        causal, context: as in ModelConfig.
        ends: valid 50 Hz positions of each clip, int64 [batch]; None: all of them.
    """

    def __init__(
        self,
        frames: int,
        *,
        causal: bool,
        context: int,
        device: torch.device,
        ends: Tensor | None = None,
    ) -> None:
        self.frames = frames
        self.causal = causal
        self.context = context
        self.device = device
        self.ends = ends
        self._masks: dict[int, Tensor | None] = {}

    def extend(self, layer: Tailed, x: Tensor) -> Tensor:
        inside = self._inside(x.shape[-1]) if layer.pad else None
        if inside is not None:
            x = x * inside[:, None]
        mode = "reflect" if layer.reflects else "constant"
        return F.pad(x, (layer.left, layer.pad), mode=mode)

    def positions(self, length: int) -> Tensor:
        return torch.arange(length, device=self.device)[None]

    def mask(self, length: int) -> Tensor | None:
        if length not in self._masks:
            self._masks[length] = self._make_mask(length)
        return self._masks[length]

    def _make_mask(self, length: int) -> Tensor | None:
        if self.causal:
            block = torch.arange(length, device=self.device) // (length // self.frames)
            age = block[:, None] - block[None, :]
            return (age >= 0) & (age <= self.context)
        inside = self._inside(length)
        return None if inside is None else inside[:, None, None, :]

    def _inside(self, length: int) -> Tensor | None:
        """Positions before each clip's end: bool [batch, length]; None: all of them."""
        if self.ends is None:
            return None
        rate = length // self.frames
        return self.positions(length) < (self.ends * rate // STEPS_PER_FRAME)[:, None]

    def remember(self, layer: Attention, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return k, v

    def valid(self, x: Tensor) -> Tensor:
        inside = self._inside(x.shape[1])
        return x if inside is None else x * inside[:, :, None]

    def loudest(self, mel: Tensor) -> Tensor:
        return mel.amax(dim=(1, 2), keepdim=True)

    def overlap_add(self, layer: Overlapping, windows: Tensor) -> Tensor:
        count = windows.shape[1]
        cut = (layer.n_fft - layer.hop) // 2
        divisor = envelope(layer, count)
        inside = self._inside(count)
        if inside is not None:
            windows = windows * inside[:, :, None]
            squared = layer.window.square() * inside[:, :, None]
            divisor = overlap(squared, layer.hop)
        total = overlap(windows, layer.hop) / divisor.clamp(min=1e-11)
        return total[:, cut : cut + count * layer.hop]
