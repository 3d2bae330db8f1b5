from __future__ import annotations

import pytest
import torch

from xyt_stream import Codec
from xyt_stream.errors import DeviceError, ModelError
from xyt_stream.model import chunked
from xyt_stream.streaming import offline


def test_repr_says_which_model_it_is(codec):
    text = repr(codec)
    for part in ("mini", codec.hash[:12], "causal", "16000 Hz", "8 codebooks of 1024", "cpu"):
        assert part in text


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


def test_numpy_and_torch_give_the_same(codec, speech):
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


@pytest.fixture
def short_chunks(monkeypatch):
    """Clips beyond 30 frames are coded in chunks of 20."""
    monkeypatch.setattr(offline, "WHOLE", 30)
    monkeypatch.setattr(offline, "CHUNK", 20)
    monkeypatch.setattr(chunked, "CHUNK", 20)


@pytest.mark.device
@pytest.mark.parametrize("frames", [30, 31, 40, 61])
def test_long_clips_equal_a_stream(causal, speech, same_codes, short_chunks, frames):
    long = speech.repeat(3)[: frames * 1280 + 77]
    codes = causal.encode(long)
    encoder, decoder = causal.stream_encoder(), causal.stream_decoder()
    live = torch.cat([encoder.push(long), encoder.flush()], dim=1)
    assert codes.shape == (8, frames)
    assert same_codes(codes, live[:, :frames])
    sound = torch.cat([decoder.push(codes), decoder.flush()])
    assert torch.allclose(causal.decode(codes), sound, atol=1e-4)
    both = causal.decode(torch.stack([codes, codes.flip(1)]))
    assert torch.allclose(both[0], sound, atol=1e-4)


def test_padding_keeps_the_last_partial_frame(codec, speech):
    clips = [speech[:12_801], speech[:12_800]]
    whole, padded = codec.encode(clips[0]), codec.encode(clips[0], pad=True)
    assert (whole.shape[1], padded.shape[1]) == (10, 11)
    assert torch.equal(padded[:, :10], whole)
    encoder = codec.stream_encoder()
    assert torch.equal(torch.cat([encoder.push(clips[0]), encoder.flush()], 1), padded)
    assert torch.equal(codec.encode(clips[1], pad=True), codec.encode(clips[1]))


@pytest.mark.parametrize("which", ["codec", "bidirectional"])
def test_padding_in_a_batch_is_of_each_clip(which, request, speech):
    codec = request.getfixturevalue(which)
    lengths = [20_000, 12_801]
    batch = speech[:20_000].repeat(2, 1)  # beyond the second one's end lies more speech
    codes = codec.encode(batch, lengths, pad=True)
    assert codes.shape[2] == 16
    for row, length in zip(codes, lengths, strict=True):
        frames = -(-length // 1280)
        assert torch.equal(row[:, :frames], codec.encode(speech[:length], pad=True))


def test_empty_input_gives_empty_output(codec):
    assert codec.encode(torch.zeros(1279)).shape == (8, 0)
    assert codec.encode(torch.zeros(0)).shape == codec.encode([]).shape == (8, 0)
    assert codec.encode(torch.zeros(0), pad=True).shape == (8, 0)
    assert codec.encode(torch.zeros(2, 0)).shape == (2, 8, 0)
    assert codec.encode(torch.zeros(0, 5000)).shape == (0, 8, 3)
    assert codec.decode(torch.zeros(8, 0, dtype=torch.int64)).shape == (0,)


def test_fewer_codebooks_decode(codec, speech):
    codes = codec.encode(speech)
    full = codec.decode(codes)
    for count in (1, 4):
        rough = codec.decode(codes[:count])
        assert rough.shape == full.shape
        assert not torch.allclose(rough, full, atol=1e-3)


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


def test_half_precision_takes_long_clips_and_unequal_ones(codec, speech, short_chunks):
    long = speech.repeat(2)[: 41 * 1280]
    codes = codec.encode(long, dtype=torch.bfloat16)
    assert codes.shape == (8, 41)
    assert codec.decode(codes, dtype=torch.bfloat16).shape == (41 * 1280,)
    lengths = torch.tensor([25, 0])
    wav = codec.decode(codes[None, :, :25].repeat(2, 1, 1), lengths, dtype=torch.bfloat16)
    assert not wav[1].any()


def test_a_precision_that_does_not_exist_is_refused(codec, speech):
    with pytest.raises(ModelError, match="float64"):
        codec.encode(speech, dtype=torch.float64)
