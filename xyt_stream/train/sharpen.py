"""Sharpens a trained decoder: it widens the range of the magnitudes that the vocoder makes.

Training for a spectral distance evens magnitudes out: loud frames come back softer, formants and
harmonics flatter. So each log magnitude is moved away from its mean over speech, as the global
variance postfilter of speech synthesis (Toda and Tokuda, 2007) and the formant postfilter of speech
codecs (Chen and Gersho, 1995) do. The map is linear, so it becomes part of the weights of the
vocoder's last layer: decoding takes no longer, and codes stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, Pcm16, to_float32
from xyt_stream.errors import ModelError
from xyt_stream.model import checkpoint
from xyt_stream.model.hub import Source
from xyt_stream.model.timeline import ClipTimeline
from xyt_stream.model.tokenizer import Tokenizer

# Factors of what a frame's log magnitudes differ from their mean over speech.
LEVEL = 1.05  # of their mean
ENVELOPE = 1.1  # of the first coefficients of their cosine transform
FINE = 1.03  # of the rest
COEFFICIENTS = 20  # of the envelope, the mean included

LONGEST = 100  # frames of a clip that are decoded to measure the means
ACTIVE = 1e-3  # of a clip's highest power; frames with less are pauses and are left out


def sharpen(source: Source, clips: Iterable[Pcm16], path: Path) -> None:
    """Writes a model with a sharpened decoder in float16; its codes and its hash are those before.

    Args:
        clips: speech at 16 kHz, of a hundred speakers or so.

    Raises:
        ModelError: the model cannot be read or is not causal, or `path` cannot be written.
    """
    loaded = checkpoint.load(source)
    if not loaded.network.config.causal:
        raise ModelError("only decoders that were trained here are sharpened: causal ones")
    widen(loaded.network, mean_log_magnitudes(loaded.network, clips))
    checkpoint.save(loaded.network, path, torch.float16, hash=loaded.hash)


@torch.no_grad()
def mean_log_magnitudes(network: Tokenizer, clips: Iterable[Pcm16]) -> Tensor:
    """Returns the mean log magnitude of each bin while clips are spoken, float32 [bins]."""
    head, config = network.decoder.vocoder.head, network.config
    outputs: list[Tensor] = []
    hook = head.out.register_forward_hook(lambda layer, args, output: outputs.append(output))
    total, count = torch.zeros(head.n_fft // 2 + 1), 0
    try:
        for clip in clips:
            frames = min(len(clip) // FRAME_SAMPLES, LONGEST)
            if not frames:
                continue
            wav = torch.from_numpy(to_float32(clip[: frames * FRAME_SAMPLES]))[None]
            timeline = ClipTimeline(
                frames, causal=config.causal, context=config.context, device=wav.device
            )
            network.decode(network.encode(wav, timeline), timeline)
            log_magnitudes = outputs.pop().chunk(2, dim=-1)[0].flatten(0, 1)
            power = log_magnitudes.mul(2).exp().sum(dim=1)
            active = log_magnitudes[power > ACTIVE * power.max()]
            total += active.sum(dim=0)
            count += len(active)
    finally:
        hook.remove()
    return total / max(1, count)


@torch.no_grad()
def widen(network: Tokenizer, mean: Tensor) -> None:
    """Widens the range of the log magnitudes about their means, in the vocoder's last layer.

    Args:
        mean: of each bin's log magnitude, float32 [bins].
    """
    out, bins = network.decoder.vocoder.head.out, len(mean)
    factors = widening(bins)
    out.weight[:bins] = factors @ out.weight[:bins]
    out.bias[:bins] = factors @ (out.bias[:bins] - mean) + mean


def widening(bins: int) -> Tensor:
    """Returns the map of what a frame's log magnitudes differ from their means, [bins, bins]."""
    place = torch.arange(bins, dtype=torch.float64)
    cosines = torch.cos(math.pi / bins * place[:, None] * (place + 0.5)) * math.sqrt(2 / bins)
    cosines[0] /= math.sqrt(2)
    factors = torch.full((bins,), FINE, dtype=torch.float64)
    factors[:COEFFICIENTS] = ENVELOPE
    factors[0] = LEVEL
    return (cosines.T @ (factors[:, None] * cosines)).float()
