from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from xyt_stream import Codec
from xyt_stream.audio import Samples, read_audio
from xyt_stream.streaming.clips import decode_clip, encode_clip


@pytest.fixture(scope="module")
def samples(fixtures: Path) -> Samples:
    return read_audio(fixtures / "speech.flac")[0]


@pytest.mark.parametrize(("which", "lookahead"), [("codec", 0), ("published", 30)])
def test_live_equals_whole_and_the_last_partial_frame_is_kept(
    request: pytest.FixtureRequest, samples: Samples, which: str, lookahead: int
) -> None:
    codec: Codec = request.getfixturevalue(which)
    size = codec.frame_samples_in
    assert len(samples) % size
    codes = encode_clip(codec, samples, lookahead)
    assert codes.shape == (codec.num_codebooks, len(samples) // size + 1)
    assert torch.equal(codes, encode_clip(codec, samples, None))
    sound = decode_clip(codec, codes, lookahead)
    assert sound.shape == (codes.shape[1] * codec.frame_samples_out,)
    whole = decode_clip(codec, codes, None)
    np.testing.assert_allclose(sound, whole, atol=1e-3 * float(whole.abs().max()))


@pytest.mark.parametrize("lookahead", [None, 0])
def test_nothing_is_a_frame_of_silence(codec: Codec, lookahead: int | None) -> None:
    codes = encode_clip(codec, np.zeros(0, np.float32), lookahead)
    assert torch.equal(codes, codec.encode(torch.zeros(codec.frame_samples_in)))


def test_offline_can_be_half_precise(codec: Codec, samples: Samples) -> None:
    codes = encode_clip(codec, samples, None, torch.bfloat16)
    padded = np.pad(samples, (0, -len(samples) % codec.frame_samples_in))
    assert torch.equal(codes, codec.encode(padded, dtype=torch.bfloat16))
    sound = decode_clip(codec, codes, None, torch.bfloat16)
    assert torch.equal(sound, codec.decode(codes, dtype=torch.bfloat16))
