"""Whole clips through a causal encoder, in pieces and constant memory, with a stream's codes."""

from __future__ import annotations

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES
from xyt_stream.model.config import ModelConfig
from xyt_stream.model.timeline import Framewise
from xyt_stream.model.tokenizer import Tokenizer

CHUNK = 250  # frames (20 s)


def encode(network: Tokenizer, wav: Tensor) -> Tensor:
    """Code a batch of clips.

    A piece runs in over the past that its first frame can feel; those frames are thrown away.

    Args:
        wav: float32 [batch, samples].

    Returns:
        int64 [batch, codebooks, samples // 1280].
    """
    config = network.config
    total = wav.shape[1] // FRAME_SAMPLES
    parts = []
    for start in range(0, total, CHUNK):
        first = max(0, start - reach(config))
        end = min(start + CHUNK, total)
        piece = wav[:, first * FRAME_SAMPLES : end * FRAME_SAMPLES]
        frames = end - first
        timeline = Framewise(frames, first, context=config.context, device=wav.device)
        parts.append(network.encode(piece, timeline)[:, :, start - first :])
    return torch.cat(parts, dim=2)


def reach(config: ModelConfig) -> int:
    """Frames of the past that a code depends on: what the layers in a row see, one by one."""
    semantic = config.semantic_encoder.layers + config.semantic_adapter.layers
    longest = max(semantic, config.acoustic_encoder.layers) + config.pre_rvq_adapter.layers
    return longest * config.context + 1  # and the mels' and convolutions' left edges
