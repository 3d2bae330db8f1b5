"""Computes with complex numbers: rotary positions and Fourier transforms.

Neither `torch.export` nor an ONNX graph has complex numbers, so each function has a second form in
pairs of reals, taken while torch compiles. Its tables are cosines looked up by whole numbers, which
a runtime computes once as it loads a graph.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROTARY_PERIOD = 4096  # positions after which the angles come round, all of them at once
MAX_WAVELENGTH = 10_000.0  # positions; the base of the rotary frequencies


def rotary_table(head_dim: int) -> Tensor:
    """Unit phasors for rotary positions (arXiv 2104.09864): complex64 [ROTARY_PERIOD, head_dim/2].

    Each frequency is rounded to a whole number of turns in ROTARY_PERIOD positions, so that a
    stream may count positions modulo the period for ever and lose no precision. The period is far
    longer than any attention window here, so two keys never look alike.
    """
    angles = torch.arange(ROTARY_PERIOD)[:, None] * _turns(head_dim)[None] / ROTARY_PERIOD
    return torch.polar(torch.ones_like(angles), 2 * math.pi * angles).to(torch.complex64)


def rotary_phasors(table: Tensor, positions: Tensor) -> Tensor:
    """Phasors of positions, for every head: [batch, 1, length, head_dim/2].

    Args:
        table: of `rotary_table`.
        positions: int64 [batch, length].

    Returns:
        complex64; pairs of reals, float32 [..., 2], while torch compiles.
    """
    if not torch.compiler.is_compiling():
        return table[positions % ROTARY_PERIOD].unsqueeze(1)
    turns = _turns(2 * table.shape[1]).long()
    return torch.stack(_circle(positions[:, None, :, None] * turns, ROTARY_PERIOD), dim=-1)


def rotate(x: Tensor, phasors: Tensor) -> Tensor:
    """Turn channel pairs by their position's phasors: [batch, heads, length, head_dim]."""
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    if phasors.is_complex():
        return torch.view_as_real(torch.view_as_complex(pairs) * phasors).flatten(-2).to(x.dtype)
    real, imag = pairs.unbind(-1)
    cos, sin = phasors.unbind(-1)
    turned = torch.stack([real * cos - imag * sin, real * sin + imag * cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)


def power_spectrum(windows: Tensor) -> Tensor:
    """Squared magnitudes of the Fourier transform: [..., n] -> [..., n / 2 + 1]."""
    if not torch.compiler.is_compiling():
        spectrum: Tensor = torch.fft.rfft(windows)
        return spectrum.real.square() + spectrum.imag.square()
    cos, sin = _fourier(windows.shape[-1])
    return (windows @ cos).square() + (windows @ sin).square()


def inverse_transform(magnitude: Tensor, phase: Tensor, n: int) -> Tensor:
    """The real signals of `n` samples with these spectra: [..., n / 2 + 1] twice -> [..., n]."""
    if not torch.compiler.is_compiling():
        signal: Tensor = torch.fft.irfft(torch.polar(magnitude, phase), n)
        return signal
    cos, sin = _fourier(n)
    # All frequencies but the first and the last stand for themselves and their mirror image.
    alone = torch.arange(n // 2 + 1) % (n // 2) == 0
    weight = torch.where(alone, 1 / n, 2 / n).float()
    scaled = magnitude * weight
    return (scaled * phase.cos()) @ cos.T - (scaled * phase.sin()) @ sin.T


def _turns(head_dim: int) -> Tensor:
    """Whole turns of each channel pair in ROTARY_PERIOD positions, float64 [head_dim/2]."""
    pairs = torch.arange(head_dim // 2, dtype=torch.float32)
    frequencies = MAX_WAVELENGTH ** -(pairs / (head_dim // 2))
    return (frequencies * ROTARY_PERIOD / (2 * math.pi)).round().clamp(min=1).double()


def _fourier(n: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the Fourier transform of `n` samples, float32 [n, n / 2 + 1]."""
    return _circle(torch.arange(n)[:, None] * torch.arange(n // 2 + 1), n)


def _circle(steps: Tensor, period: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of steps / period turns, for whole steps."""
    angles = torch.arange(period, dtype=torch.float64) * (2 * math.pi / period)
    steps = steps % period
    return angles.cos().float()[steps], angles.sin().float()[steps]
