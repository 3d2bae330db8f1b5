"""Codes and decodes clips of any length, whole or as a live stream would."""

from __future__ import annotations

import torch
from torch import Tensor

from xyt_stream.audio import Samples, fit_length
from xyt_stream.streaming.codec import Codec


def encode_clip(
    codec: Codec,
    samples: Samples,
    lookahead: int | None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Sound to codes.

    Args:
        samples: float32 [n] at `codec.input_rate`.
        lookahead: frames of the future that each step of a live stream sees; None: offline.
        dtype: precision offline; live streams are float32.

    Returns:
        int64 [codebooks, ceil(n / frame_samples_in)], at least one frame; the last one is filled
        up with silence.

    Raises:
        AudioError: the samples are not finite.
        ModelError: a lookahead that this codec cannot have.
    """
    size = codec.frame_samples_in
    whole = fit_length(samples, max(1, -(-len(samples) // size)) * size)
    if lookahead is None:
        return codec.encode(whole, dtype=dtype)
    encoder = codec.stream_encoder(lookahead=lookahead)
    frames = torch.split(torch.from_numpy(whole), size)
    return torch.cat([*(encoder.push(frame) for frame in frames), encoder.flush()], 1)


def decode_clip(
    codec: Codec, codes: Tensor, lookahead: int | None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Codes to sound.

    Args:
        codes: int64 [codebooks, frames].
        lookahead, dtype: as for `encode_clip`.

    Returns:
        float32 [frames * frame_samples_out] at `codec.output_rate`.

    Raises:
        CodeError: the codes are not of this codec.
        ModelError: a lookahead that this codec cannot have.
    """
    if lookahead is None:
        return codec.decode(codes, dtype=dtype)
    decoder = codec.stream_decoder(lookahead=lookahead)
    frames = torch.split(codes, 1, 1)
    return torch.cat([*(decoder.push(frame) for frame in frames), decoder.flush()])
