"""Codes and decodes whole clips in constant memory, one way for each kind of model and half.

- A bidirectional model codes and decodes overlapping 30 s windows, as published.
- A causal model codes chunks of 20 s, each with the past that its first frame depends on.
- A causal model decodes up to 30 s at once, and longer clips as one long live stream of 20 s steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xyt_stream.model import chunked, overlapped
from xyt_stream.model.timeline import ClipTimeline
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.stream import Stream

WHOLE = 375  # frames (30 s); longer clips are decoded in chunks
CHUNK = 250  # frames (20 s)


def encode(network: Tokenizer, wav: Tensor, lengths: Tensor) -> Tensor:
    """Code a batch of clips.

    Args:
        wav: float32 [batch, samples], at least one frame.
        lengths: samples of each clip, int64 [batch].

    Returns:
        int64 [batch, codebooks, samples // 1280]; a clip's own codes are its first
        length // 1280 frames.
    """
    if network.config.causal:
        return chunked.encode(network, wav)
    inside = torch.arange(wav.shape[1], device=wav.device) < lengths[:, None]
    return overlapped.encode(network, wav * inside, lengths)


def decode(network: Tokenizer, codes: Tensor, lengths: Tensor) -> Tensor:
    """Decode a batch of clips.

    Args:
        codes: int64 [batch, codebooks, frames], at least one frame.
        lengths: frames of each clip, int64 [batch].

    Returns:
        float32 [batch, frames * frame_samples_out]; silence beyond a clip's end.
    """
    if not network.config.causal:
        return overlapped.decode(network, codes, lengths)
    if bool((lengths == codes.shape[2]).all()):
        return _decode_full(network, codes)
    # One by one: the frames after a clip's last one must not sound in its overlap.
    total = codes.shape[2] * network.config.frame_samples_out
    wav = torch.zeros(len(codes), total, dtype=torch.float32, device=codes.device)
    for row, clip, frames in zip(wav, codes, lengths.tolist(), strict=True):
        if frames:
            sound = _decode_full(network, clip[None, :, :frames])[0]
            row[: len(sound)] = sound
    return wav


def _decode_full(network: Tokenizer, codes: Tensor) -> Tensor:
    """Decode a batch of clips of a causal network, all of full length."""
    config, frames = network.config, codes.shape[2]
    if frames <= WHOLE:
        clip = ClipTimeline(frames, causal=True, context=config.context, device=codes.device)
        return network.decode(codes, clip)
    batch = len(codes)
    stream = Stream(config, [network.decoder], slots=batch, frames=CHUNK, device=codes.device)
    active = torch.ones(batch, dtype=torch.bool, device=codes.device)
    sound = []
    for chunk in torch.split(codes, CHUNK, dim=2):
        stream.begin(active, chunk.shape[2], chunk.shape[2])
        sound.append(network.decode(chunk, stream))
        stream.finish()
    sound.append(stream.rest(network.decoder.vocoder.head))
    return torch.cat(sound, dim=1)[:, config.vocoder.overlap_samples :]
