from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from xyt_stream import Codec
from xyt_stream.audio import read_audio
from xyt_stream.evaluate.listen import stream_decode, stream_encode


def test_live_equals_whole_and_the_last_partial_frame_is_kept(codec: Codec, fixtures: Path) -> None:
    samples, _ = read_audio(fixtures / "speech.flac")
    size = codec.frame_samples_in
    assert len(samples) % size
    codes = stream_encode(codec, samples)
    assert codes.shape == (codec.num_codebooks, len(samples) // size + 1)
    assert torch.equal(codes[:, :-1], codec.encode(samples))
    sound = stream_decode(codec, codes)
    assert sound.shape == (codes.shape[1] * codec.frame_samples_out,)
    np.testing.assert_allclose(sound, codec.decode(codes), atol=1e-4)
