"""Codes and decodes whole clips with a bidirectional network, in overlapping 30 s windows.

A window of 375 frames starts every 250, as long as anything of the clip is left; the first 250
frames of each window are kept. Nothing is padded further than to the longest clip of the batch,
which changes no result: every layer masks or cuts positions beyond a clip's end.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES
from xyt_stream.model.config import MEL_HOP, STEPS_PER_FRAME
from xyt_stream.model.timeline import ClipTimeline
from xyt_stream.model.tokenizer import Tokenizer


def _stride(network: Tokenizer) -> int:
    """Frames from one window's start to the next: 250 (20 s) of the published 375."""
    return network.config.context * 2 // 3


def encode(network: Tokenizer, wav: Tensor, lengths: Tensor) -> Tensor:
    """Code a batch of clips.

    Args:
        wav: float32 [batch, samples], zeros beyond each clip's end.
        lengths: samples of each clip, int64 [batch].

    Returns:
        int64 [batch, codebooks, longest // 1280]; a clip's own codes are its first
        length // 1280 frames.
    """
    window, stride = network.config.context, _stride(network)
    total = wav.shape[1] // FRAME_SAMPLES
    parts = []
    for start in range(0, total, stride):
        at = start * FRAME_SAMPLES
        piece = wav[:, at : at + window * FRAME_SAMPLES]
        parts.append(_encode_window(network, piece, (lengths - at).clamp(min=0))[:, :, :stride])
    return torch.cat(parts, dim=2)[:, :, :total]


def _encode_window(network: Tokenizer, wav: Tensor, lengths: Tensor) -> Tensor:
    config = network.config
    lengths = lengths.clamp(max=config.context * FRAME_SAMPLES)
    ends = -(-lengths // MEL_HOP) // 2  # 50 Hz positions
    frames = max(1, -(-int(ends.max()) // STEPS_PER_FRAME))
    # A full window has no samples ahead; see LogMel.
    ahead = network.samples_ahead if frames < config.context else 0
    wav = F.pad(wav, (0, frames * FRAME_SAMPLES + ahead - wav.shape[1]))
    return network.encode(wav, _clip(network, frames, ends))


def decode(network: Tokenizer, codes: Tensor, lengths: Tensor) -> Tensor:
    """Decode a batch of clips.

    Args:
        codes: int64 [batch, codebooks, frames].
        lengths: frames of each clip, int64 [batch].

    Returns:
        float32 [batch, frames * frame_samples_out]; silence beyond a clip's end.
    """
    window, stride = network.config.context, _stride(network)
    parts = [
        _decode_window(
            network, codes[:, :, start : start + window], (lengths - start).clamp(min=0)
        )[:, : stride * network.config.frame_samples_out]
        for start in range(0, codes.shape[2], stride)
    ]
    return torch.cat(parts, dim=1)


def _decode_window(network: Tokenizer, codes: Tensor, lengths: Tensor) -> Tensor:
    config = network.config
    frames = codes.shape[2]
    lengths = lengths.clamp(max=frames)
    wav = network.decode(codes, _clip(network, frames, lengths * STEPS_PER_FRAME))
    time = torch.arange(wav.shape[1], device=wav.device)
    return wav * (time < (lengths * config.frame_samples_out)[:, None])


def _clip(network: Tokenizer, frames: int, ends: Tensor) -> ClipTimeline:
    """A timeline; without ends, and so without masks, if every clip fills all positions."""
    full = bool((ends == frames * STEPS_PER_FRAME).all())
    return ClipTimeline(
        frames,
        causal=False,
        context=network.config.context,
        device=ends.device,
        ends=None if full else ends,
    )
