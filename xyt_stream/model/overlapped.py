"""Whole clips through a bidirectional network, in the published overlapping 30 s windows.

Windows of 375 frames start every 250; the first 250 frames of each are kept. Nothing is padded
further than to the longest clip of the batch, which changes no result: what lies beyond a clip's
end is masked or cut in every layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES
from xyt_stream.model.config import MEL_HOP, STEPS_PER_FRAME
from xyt_stream.model.timeline import Clip
from xyt_stream.model.tokenizer import Tokenizer

STRIDE = 250  # frames (20 s) from one window's start to the next


def encode(network: Tokenizer, wav: Tensor, lengths: Tensor) -> Tensor:
    """Code a batch of clips.

    Args:
        wav: float32 [batch, samples], zeros beyond each clip's end.
        lengths: samples of each clip, int64 [batch].

    Returns:
        int64 [batch, codebooks, longest // 1280]; a clip's own codes are its first
        length // 1280 frames.
    """
    window = network.config.context
    total = wav.shape[1] // FRAME_SAMPLES
    if total <= window:
        return _encode_window(network, wav, lengths)[:, :, :total]
    parts = []
    for start in range(0, total, STRIDE):
        at = start * FRAME_SAMPLES
        piece = wav[:, at : at + window * FRAME_SAMPLES]
        parts.append(_encode_window(network, piece, (lengths - at).clamp(min=0))[:, :, :STRIDE])
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
    window, samples = network.config.context, network.config.frame_samples_out
    total = codes.shape[2]
    if total <= window:
        return _decode_window(network, codes, lengths)
    parts = [
        _decode_window(
            network, codes[:, :, start : start + window], (lengths - start).clamp(min=0)
        )[:, : STRIDE * samples]
        for start in range(0, total, STRIDE)
    ]
    return torch.cat(parts, dim=1)[:, : total * samples]


def _decode_window(network: Tokenizer, codes: Tensor, lengths: Tensor) -> Tensor:
    config = network.config
    frames = codes.shape[2]
    lengths = lengths.clamp(max=frames)
    wav = network.decode(codes, _clip(network, frames, lengths * STEPS_PER_FRAME))
    time = torch.arange(wav.shape[1], device=wav.device)
    return wav * (time < (lengths * config.frame_samples_out)[:, None])


def _clip(network: Tokenizer, frames: int, ends: Tensor) -> Clip:
    """A timeline; one without ends, so without masks, when every clip fills all positions."""
    full = bool((ends == frames * STEPS_PER_FRAME).all())
    return Clip(
        frames,
        causal=False,
        context=network.config.context,
        device=ends.device,
        ends=None if full else ends,
    )
