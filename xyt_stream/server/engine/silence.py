"""Computes the codes of silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xyt_stream.protocol.packing import CodeArray

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

_SETTLED = 8  # frames of silence after which its codes no longer change


def silence_of(codec: Codec) -> CodeArray:
    """Codes of a frame of digital silence, int64 [codebooks]."""
    pcm = np.zeros(_SETTLED * codec.frame_samples_in, np.float32)
    codes: CodeArray = codec.encode(pcm)[:, -1].numpy()
    return codes
