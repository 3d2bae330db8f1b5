"""Timelines give layers their left context, their positions and their KV cache.

The network is written once. Where a layer depends on the past (a convolution on its left context,
attention on past keys and values, the overlap-add on its tail) or on its position in time, it calls
its timeline:

- `ClipTimeline` is that of whole clips, offline and in training: silence comes before a clip.
- `xyt_stream.streaming.stream.Stream` is that of one step of live streams, with cached state.

Time is counted in code frames; a layer at a higher rate has `length // frames` positions in each.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xyt_stream.model.config import STEPS_PER_FRAME


class Tailed(nn.Module):
    """A layer that reads positions before and after those of its output.

    Attributes:
        channels: of its input.
        left: positions that it reads before the first.
        pad: positions that it reads after the last; they are silence.
        ahead: positions after the last that are part of its input.
        reflects: whether a clip is preceded by its own mirror image instead of silence.
    """

    channels: int
    left: int
    pad: int = 0
    ahead: int = 0
    reflects: bool = False


class Cached(nn.Module):
    """An attention; a live stream keeps its keys and values for later steps.

    Attributes:
        heads, head_dim: number of heads, channels of each.
        positions_per_frame: positions of this layer in one code frame: 4 at 50 Hz, 1 at 12.5 Hz.
    """

    heads: int
    head_dim: int
    positions_per_frame: int


class Overlapping(nn.Module):
    """A layer that ends in an overlap-add of windows of `n_fft` samples, `hop` apart."""

    n_fft: int
    hop: int
    window: Tensor  # [n_fft]


class Timeline(Protocol):
    """The interface that layers call; its methods run in the thread that runs the network."""

    frames: int  # code frames in this call of the network

    def extend(self, layer: Tailed, x: Tensor) -> Tensor:
        """[batch, length, channels] -> [batch, left + length + pad, channels]."""
        ...

    def positions(self, length: int) -> Tensor:
        """The numbers of the `length` positions in their clip: int64 [batch or 1, length]."""
        ...

    def attend(self, layer: Cached, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of queries to the keys that each may see.

        Arguments and result are [batch, heads, length, head_dim].
        """
        ...

    def valid(self, x: Tensor) -> Tensor:
        """[batch, length, channels], with zeros beyond each clip's end."""
        ...

    def loudest(self, mel: Tensor) -> Tensor:
        """The maximum of each clip up to here: [batch, length, bins] -> [batch, 1, 1]."""
        ...

    def overlap_add(self, layer: Overlapping, windows: Tensor) -> Tensor:
        """[batch, windows, n_fft] -> samples [batch, windows * hop], window envelope divided out.

        The first sample of the result lies (n_fft - hop) / 2 samples into the first window ("same"
        padding).
        """
        ...


def overlap(windows: Tensor, hop: int) -> Tensor:
    """Add windows laid `hop` apart: [batch, count, n_fft] -> [batch, (count - 1) * hop + n_fft]."""
    batch, count, n_fft = windows.shape
    hops = n_fft // hop
    out = windows.new_zeros(batch, count + hops - 1, hop)
    for i in range(hops):
        out.narrow(1, i, count).add_(windows.narrow(2, i * hop, hop))
    return out.flatten(1)


def envelope(layer: Overlapping, count: int) -> Tensor:
    """The sum of `count` overlapped squared windows: [(count - 1) * hop + n_fft]."""
    squared = layer.window.square().expand(1, count, layer.n_fft)
    return overlap(squared, layer.hop)[0]


class ClipTimeline:
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
        if layer.pad:
            x = self.valid(x)
        mode = "reflect" if layer.reflects else "constant"
        return F.pad(x.transpose(1, 2), (layer.left, layer.pad), mode=mode).transpose(1, 2)

    def positions(self, length: int) -> Tensor:
        return torch.arange(length, device=self.device)[None]

    def attend(self, layer: Cached, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        length = q.shape[2]
        if length not in self._masks:
            self._masks[length] = self._make_mask(length)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self._masks[length])

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


class Framewise(ClipTimeline):
    """A causal clip, computed to the bit as a stream computes it.

    A code is the nearest of 1024 vectors, and sometimes two are equally near: then the last bit
    decides. So every frame attends to its own window of keys, in the order of a stream's ring,
    instead of all frames to all keys under a mask.

    Args:
        first: number of the first frame in its stream; keys before it are masked.
    """

    def __init__(self, frames: int, first: int, *, context: int, device: torch.device) -> None:
        super().__init__(frames, causal=True, context=context, device=device)
        self.first = first
        self._windows: dict[int, tuple[Tensor, Tensor]] = {}

    def positions(self, length: int) -> Tensor:
        return super().positions(length) + self.first * (length // self.frames)

    def attend(self, layer: Cached, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        batch, heads, length, width = q.shape
        rate = length // self.frames
        if rate not in self._windows:
            self._windows[rate] = self._window(rate)
        index, seen = self._windows[rate]

        def windows(x: Tensor) -> Tensor:
            x = x[:, :, index.flatten()].view(batch, heads, self.frames, -1, width)
            return x.transpose(1, 2).reshape(batch * self.frames, heads, -1, width)

        q = q.view(batch, heads, self.frames, rate, width).transpose(1, 2).flatten(0, 1)
        mask = seen.repeat(batch, 1)[:, None, None]
        out = F.scaled_dot_product_attention(q, windows(k), windows(v), attn_mask=mask)
        out = out.view(batch, self.frames, heads, rate, width).transpose(1, 2)
        return out.reshape(batch, heads, length, width)

    def _window(self, rate: int) -> tuple[Tensor, Tensor]:
        """For each frame the keys in its ring, and whether they exist: [frames, capacity] both."""
        capacity = (self.context + 1) * rate
        frame = torch.arange(self.first, self.first + self.frames, device=self.device)
        last = (frame[:, None] + 1) * rate - 1
        held = last - (last - torch.arange(capacity, device=self.device)) % capacity
        index = held - self.first * rate
        return index.clamp(min=0), index >= 0
