"""Samples, codes and lengths of callers: accepted in every form, or refused in one line."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from xyt_stream.errors import AudioError, CodeError, InputTypeError, XYTError


def poisoned(value: float) -> torch.Tensor:
    wav = torch.zeros(5000)
    wav[1234] = value
    return wav


def refusals(codec, method):
    """The call on whole clips, and the one on a stream."""
    if method == "encode":
        return codec.encode, codec.stream_encoder().push
    return codec.decode, codec.stream_decoder().push


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.numpy()[::-1],
        lambda x: x.flip(0).numpy().astype(">f4"),
        lambda x: x.flip(0).numpy().astype("<f8"),
        lambda x: x.flip(0).numpy().astype(np.longdouble),
        lambda x: x.flip(0).tolist(),
        lambda x: tuple(x.flip(0).tolist()),
        lambda x: x.flip(0).double(),
        lambda x: x.flip(0).clone().requires_grad_(),
        lambda x: np.stack([x.flip(0).numpy()] * 2, 1)[:, 0],
        lambda x: np.frombuffer(x.flip(0).numpy().tobytes(), np.float32),
    ],
)
def test_any_form_of_the_same_samples_gives_the_same_codes(codec, speech, make):
    wav = speech[:6400]
    expected = codec.encode(wav.flip(0))
    encoder = codec.stream_encoder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(codec.encode(make(wav)), expected)
        assert torch.equal(encoder.push(make(wav)), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda codes: codes.tolist(),
        lambda codes: codes.numpy().astype(">i2"),
        lambda codes: codes.numpy().astype(np.uint64),
        lambda codes: codes.int(),
        lambda codes: np.asfortranarray(codes.numpy()),
        lambda codes: np.flip(codes.flip(1).numpy(), 1),
    ],
)
def test_any_form_of_the_same_codes_gives_the_same_sound(codec, speech, make):
    codes = codec.encode(speech[:6400])
    decoder = codec.stream_decoder()
    live = torch.cat([decoder.push(make(codes)), decoder.flush()])
    assert torch.equal(codec.decode(make(codes)), codec.decode(codes))
    assert torch.allclose(live, codec.decode(codes), atol=1e-4)


@pytest.mark.parametrize(
    "value",
    ["speech.wav", Path("speech.wav"), b"RIFF", None, {}, [[0.1], [0.1, 0.2]], object(), ["a"]],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("method", ["encode", "decode"])
def test_a_value_without_numbers_is_a_type_error_in_one_line(codec, method, value):
    for call in refusals(codec, method):
        with pytest.raises(
            TypeError, match=r"an array or a list of numbers, not .*; \w+"
        ) as refused:
            call(value)
        assert isinstance(refused.value, XYTError)
        assert isinstance(refused.value, InputTypeError)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "wav",
    [
        poisoned(math.nan),
        poisoned(math.inf),
        poisoned(-math.inf),
        torch.zeros(100, dtype=torch.int16),
        torch.zeros(100, dtype=torch.complex64),
        torch.zeros(2, 2, 100),
        np.zeros((), np.float32),
        np.zeros(100, bool),
        [1, 2, 3],
        0.5,
    ],
)
def test_samples_that_are_no_sound_are_refused(codec, wav):
    for call in refusals(codec, "encode"):
        with pytest.raises(AudioError):
            call(wav)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_last_are_refused_by_their_axes(codec, channels):
    for wav in (np.zeros((48_000, channels), np.float32), torch.zeros(48_000, channels)):
        with pytest.raises(AudioError, match=r"looks like \[samples, channels\]"):
            codec.encode(wav)
        with pytest.raises(AudioError, match=r"must be float \[samples\]"):
            codec.stream_encoder().push(wav)


@pytest.mark.parametrize("batch", [1, 2])
def test_codebooks_first_are_refused_by_their_axes(codec, batch):
    with pytest.raises(CodeError, match=r"looks like \[codebooks, batch, frames\]"):
        codec.decode(torch.zeros(8, batch, 25, dtype=torch.int64))


@pytest.mark.parametrize(
    "codes",
    [
        torch.full((8, 3), 1024),
        torch.full((8, 3), -1),
        np.full((8, 3), 1 << 63, np.uint64),
        torch.zeros(9, 3, dtype=torch.int64),
        torch.zeros(0, 3, dtype=torch.int64),
        torch.zeros(8, 3),
        torch.zeros(8, 3, dtype=torch.bool),
        torch.zeros(8, dtype=torch.int64),
        np.zeros((), np.int64),
    ],
)
def test_bad_codes_are_refused(codec, codes):
    for call in refusals(codec, "decode"):
        with pytest.raises(CodeError):
            call(codes)


@pytest.mark.parametrize(
    "lengths", [[6400], [6400, 6401], [-1, 5], [0.5, 1.0], [[1, 2]], 5, torch.tensor([1, 2, 3])]
)
def test_lengths_that_do_not_fit_are_refused(codec, lengths):
    with pytest.raises(AudioError, match="lengths must be"):
        codec.encode(torch.zeros(2, 6400), lengths)
    with pytest.raises(CodeError, match="lengths must be"):
        codec.decode(torch.zeros(2, 8, 5, dtype=torch.int64), lengths)


def test_lengths_may_be_a_list(codec, speech):
    batch = speech[:12_800].view(2, 6400)
    assert torch.equal(
        codec.encode(batch, [6400, 1300]), codec.encode(batch, torch.tensor([6400, 1300]))
    )


def test_integer_scale_is_warned_of_once(codec, speech):
    loud, encoder = 32_768 * speech, codec.stream_encoder()
    with pytest.warns(UserWarning, match="divide those of 16 bits by 32768"):
        codec.encode(loud)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for part in loud.split(1280):
            encoder.push(part)
    assert len(seen) == 1


def test_twice_full_scale_is_not_warned_of(codec, speech):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codec.encode(2 * speech / speech.abs().max())


def test_refused_input_leaves_the_stream_as_it_was(codec, speech):
    wav, encoder = speech[:6400], codec.stream_encoder()
    codes = [encoder.push(wav[:3000])]
    for bad in ("speech.wav", poisoned(math.nan), torch.zeros(2, 1000)):
        with pytest.raises(XYTError):
            encoder.push(bad)
    assert torch.equal(torch.cat([*codes, encoder.push(wav[3000:])], 1), codec.encode(wav))
