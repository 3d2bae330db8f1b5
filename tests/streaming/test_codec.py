from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from xyt_stream import Codec
from xyt_stream.errors import AudioError, CodeError, DeviceError, ModelError


def test_names_and_numbers_of_the_default(codec):
    assert (codec.name, codec.causal) == ("mini", True)
    assert (codec.input_rate, codec.output_rate) == (16_000, 16_000)
    assert (codec.frame_samples_in, codec.frame_samples_out) == (1280, 1280)
    assert (codec.num_codebooks, codec.codebook_size) == (8, 1024)
    assert len(codec.hash) == 64


def test_shapes_of_one_clip(codec, speech):
    codes = codec.encode(speech)
    assert codes.shape == (8, len(speech) // 1280)
    assert codes.dtype == torch.int64
    wav = codec.decode(codes)
    assert wav.shape == (codes.shape[1] * 1280,)
    assert wav.dtype == torch.float32


def test_numpy_is_as_good_as_torch(codec, speech):
    assert torch.equal(codec.encode(speech.numpy()), codec.encode(speech))
    codes = codec.encode(speech)
    assert torch.equal(codec.decode(codes.numpy()), codec.decode(codes))


@pytest.mark.device
def test_a_batch_is_its_clips(codec, speech, same_codes):
    batch = torch.stack([speech, speech.flip(0)])
    codes = codec.encode(batch)
    assert codes.shape == (2, 8, len(speech) // 1280)
    for row, clip in zip(codes, batch, strict=True):
        assert same_codes(row, codec.encode(clip))
    for row, single in zip(codec.decode(codes), codes, strict=True):
        assert torch.allclose(row, codec.decode(single), atol=1e-4)


@pytest.mark.parametrize("which", ["codec", "bidirectional"])
def test_clips_of_unequal_length(which, request, speech):
    codec = request.getfixturevalue(which)
    clips = [speech, speech[5000:17_777], speech[:1000]]
    lengths = torch.tensor([len(clip) for clip in clips])
    batch = torch.zeros(3, len(speech))
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    codes = codec.encode(batch, lengths)
    wav = codec.decode(codes, lengths // 1280)
    for i, clip in enumerate(clips):
        frames = len(clip) // 1280
        assert torch.equal(codes[i, :, :frames], codec.encode(clip))
        alone = codec.decode(codes[i, :, :frames])
        assert torch.allclose(wav[i, : len(alone)], alone, atol=1e-4)
        assert not wav[i, len(alone) :].any()


def test_speech_comes_back_as_speech(codec, speech):
    """Not noise: the decoded loudness follows the original's, 20 ms by 20 ms."""

    def envelope(wav):
        power = wav[: len(wav) // 320 * 320].view(-1, 320).square().mean(1)
        return power.clamp(min=1e-6).log()

    decoded = codec.decode(codec.encode(speech))
    original = envelope(speech[: len(decoded)])
    correlation = torch.corrcoef(torch.stack([original, envelope(decoded)]))[0, 1]
    assert correlation > 0.8


@pytest.mark.device
def test_long_clips_go_through_in_pieces_that_do_not_show(codec, speech, same_codes):
    long = speech.repeat(17)[: 400 * 1280 + 77]
    codes = codec.encode(long)
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    live = torch.cat([encoder.push(long), encoder.flush()], dim=1)
    assert codes.shape == (8, 400)
    assert same_codes(codes, live[:, :400])
    sound = torch.cat([decoder.push(codes), decoder.flush()])
    assert torch.allclose(codec.decode(codes), sound, atol=1e-4)


def test_one_frame_beyond_the_pieces(codec, speech):
    long = speech.repeat(21)[: 501 * 1280]
    codes = codec.encode(long)
    assert codes.shape == (8, 501)
    assert codec.decode(codes).shape == (501 * 1280,)


def test_nothing_gives_nothing(codec):
    assert codec.encode(torch.zeros(1279)).shape == (8, 0)
    assert codec.decode(torch.zeros(8, 0, dtype=torch.int64)).shape == (0,)


def test_fewer_codebooks_decode(codec, speech):
    codes = codec.encode(speech)
    full = codec.decode(codes)
    for books in (1, 4):
        rough = codec.decode(codes[:books])
        assert rough.shape == full.shape
        assert not torch.allclose(rough, full, atol=1e-3)


def poisoned(value: float) -> torch.Tensor:
    wav = torch.zeros(5000)
    wav[1234] = value
    return wav


@pytest.mark.parametrize(
    "wav",
    [
        poisoned(math.nan),
        poisoned(math.inf),
        torch.zeros(100, dtype=torch.int16),
        torch.zeros(2, 2, 100),
        np.zeros((), np.float32),
    ],
)
def test_bad_samples_are_refused(codec, wav):
    with pytest.raises(AudioError):
        codec.encode(wav)


@pytest.mark.parametrize(
    "codes",
    [
        torch.full((8, 3), 1024),
        torch.full((8, 3), -1),
        torch.zeros(9, 3, dtype=torch.int64),
        torch.zeros(8, 3),
        torch.zeros(8, dtype=torch.int64),
    ],
)
def test_bad_codes_are_refused(codec, codes):
    with pytest.raises(CodeError):
        codec.decode(codes)


def test_unknown_model_is_named():
    with pytest.raises(ModelError, match="no-such-model"):
        Codec.load("no-such-model")


def test_unknown_device_is_named():
    with pytest.raises(DeviceError, match="abacus"):
        Codec.load(device="abacus")


def test_a_causal_model_takes_no_lookahead(codec):
    with pytest.raises(ModelError, match="lookahead is 0"):
        codec.stream_encoder(lookahead=1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("which", ["codec", "published"])
def test_half_precision_is_nearly_the_same(which, request, speech, dtype):
    codec = request.getfixturevalue(which)
    codes = codec.encode(speech)
    half = codec.encode(speech, dtype=dtype)
    assert half.shape == codes.shape
    assert (half[0] == codes[0]).float().mean() > 0.8
    sound, heard = codec.decode(codes), codec.decode(codes, dtype=dtype)
    assert heard.dtype == torch.float32
    noise = (heard - sound).square().sum()
    assert 0 < noise < 0.01 * sound.square().sum()


def test_half_precision_takes_long_clips_and_unequal_ones(codec, speech):
    long = speech.repeat(17)[: 400 * 1280]
    codes = codec.encode(long, dtype=torch.bfloat16)
    assert codes.shape == (8, 400)
    assert codec.decode(codes, dtype=torch.bfloat16).shape == (400 * 1280,)
    lengths = torch.tensor([25, 0])
    wav = codec.decode(codes[None, :, :25].repeat(2, 1, 1), lengths, dtype=torch.bfloat16)
    assert not wav[1].any()


def test_a_precision_that_does_not_exist_is_refused(codec, speech):
    with pytest.raises(ModelError, match="float64"):
        codec.encode(speech, dtype=torch.float64)
