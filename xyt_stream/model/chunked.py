"""Encodes whole clips with a causal network, in chunks and constant memory, as a stream does."""

from __future__ import annotations

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES
from xyt_stream.model.config import ModelConfig
from xyt_stream.model.timeline import Framewise
from xyt_stream.model.tokenizer import Tokenizer

CHUNK = 250  # frames (20 s)


def encode(network: Tokenizer, wav: Tensor) -> Tensor:
    """Code a batch of clips; the codes are those of a live stream, to the bit.

    Each chunk is computed with the frames before it that its first code depends on. For clips over
    20 s that is 40 % more work with the default model, and memory stays constant.

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
        chunk = wav[:, first * FRAME_SAMPLES : end * FRAME_SAMPLES]
        frames = end - first
        timeline = Framewise(frames, first, context=config.context, device=wav.device)
        parts.append(network.encode(chunk, timeline)[:, :, start - first :])
    return torch.cat(parts, dim=2)


def reach(config: ModelConfig) -> int:
    """The number of past frames that a code depends on, through all layers in a row."""
    semantic = config.semantic_encoder.layers + config.semantic_adapter.layers
    longest = max(semantic, config.acoustic_encoder.layers) + config.pre_rvq_adapter.layers
    return longest * config.context + 1  # and the mels' and convolutions' left edges
