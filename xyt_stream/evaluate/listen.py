"""A recording through a codec as a live listener gets it: in steps of one 80 ms frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xyt_stream.audio import Samples

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec


def stream_encode(codec: Codec, samples: Samples, lookahead: int = 0) -> Tensor:
    """Sound to codes, frame by frame.

    Args:
        samples: float32 [n] at `codec.input_rate`.
        lookahead: frames of the future that each step sees.

    Returns:
        int64 [codebooks, ceil(n / frame_samples_in)]; the last frame is filled up with silence.

    Raises:
        AudioError: the samples are not finite.
    """
    encoder = codec.stream_encoder(lookahead=lookahead)
    frames = torch.split(torch.from_numpy(samples), codec.frame_samples_in)
    return torch.cat([*(encoder.push(frame) for frame in frames), encoder.flush()], 1)


def stream_decode(codec: Codec, codes: Tensor, lookahead: int = 0) -> Tensor:
    """Codes to sound, frame by frame.

    Args:
        codes: int64 [codebooks, frames].
        lookahead: frames of the future that each step sees.

    Returns:
        float32 [frames * frame_samples_out] at `codec.output_rate`.

    Raises:
        CodeError: the codes are not of this codec.
    """
    decoder = codec.stream_decoder(lookahead=lookahead)
    frames = torch.split(codes, 1, 1)
    return torch.cat([*(decoder.push(frame) for frame in frames), decoder.flush()])
