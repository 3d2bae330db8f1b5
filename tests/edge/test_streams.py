from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from xyt_stream import Codec
from xyt_stream.audio import Pcm16, to_float32
from xyt_stream.client.sound import open_sound
from xyt_stream.edge import EdgeDecoder, EdgeEncoder
from xyt_stream.edge.inputs import Codes, Samples
from xyt_stream.errors import AudioError, CodeError, ModelError
from xyt_stream.protocol.machine import Codes as WireCodes
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from ..streaming.test_hard_inputs import NAMES, inputs, through

CLOSE = 1e-4  # of full scale


def coded(encoder: EdgeEncoder, pcm: Samples, piece: int) -> Codes:
    parts = [encoder.push(pcm[i : i + piece]) for i in range(0, len(pcm), piece)]
    return np.concatenate([*parts, encoder.flush()], axis=1)


def decoded(decoder: EdgeDecoder, codes: Codes, piece: int) -> Samples:
    parts = [decoder.push(codes[:, i : i + piece]) for i in range(0, codes.shape[1], piece)]
    return np.concatenate([*parts, decoder.flush()])


@pytest.fixture(scope="module")
def sound(clip: Pcm16) -> Samples:
    return to_float32(clip)


class Right(NamedTuple):
    """The results of torch for the clip."""

    codes: Codes
    wav: Samples  # of all frames


@pytest.fixture(scope="module")
def right(codec: Codec, sound: Samples) -> Right:
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    codes = torch.cat([encoder.push(sound), encoder.flush()], dim=1)
    return Right(codes.numpy(), torch.cat([decoder.push(codes), decoder.flush()]).numpy())


@pytest.mark.parametrize("piece", [1, 1279, 1280, 5000, 10**6])
def test_codes_are_those_of_torch_however_the_sound_is_cut(
    sound: Samples, right: Right, piece: int
) -> None:
    length = 4000 if piece == 1 else len(sound)
    codes = coded(EdgeEncoder(), sound[:length], piece)
    assert codes.dtype == np.int64
    whole = length // 1280
    assert np.array_equal(codes[:, :whole], right.codes[:, :whole])
    assert codes.shape == (8, -(-length // 1280))


@pytest.mark.parametrize("piece", [1, 7, 10**6])
def test_sound_is_that_of_torch_however_the_codes_are_cut(right: Right, piece: int) -> None:
    sound = decoded(EdgeDecoder(), right.codes, piece)
    assert sound.dtype == np.float32
    assert sound.shape == right.wav.shape
    assert np.abs(sound - right.wav).max() < CLOSE


@pytest.mark.parametrize("codebooks", [1, 3, 7])
def test_fewer_codebooks_give_the_sound_of_torch(
    codec: Codec, right: Right, codebooks: int
) -> None:
    codes = right.codes[:codebooks]
    decoder = codec.stream_decoder()
    reference = torch.cat([decoder.push(codes), decoder.flush()]).numpy()
    assert np.abs(decoded(EdgeDecoder(), codes, 5) - reference).max() < CLOSE


@pytest.mark.parametrize("name", NAMES)
def test_hard_inputs_are_coded_as_by_torch(codec: Codec, sound: Samples, name: str) -> None:
    hard = inputs(sound)[name].astype(np.float32)
    encoder = codec.stream_encoder()
    right = torch.cat([encoder.push(hard), encoder.flush()], dim=1).numpy()
    assert np.array_equal(coded(EdgeEncoder(), hard, 5000), right)
    heard = decoded(EdgeDecoder(), right, 10)[: len(hard)]
    assert np.abs(heard - through(codec, hard).numpy()).max() < CLOSE


def test_another_model_is_coded_as_by_torch(exported: Path, tiny_causal: Path) -> None:
    codec = Codec.load(tiny_causal)
    wav = np.random.default_rng(1).normal(0, 0.1, 50_000).astype(np.float32)
    encoder, decoder = EdgeEncoder(exported), EdgeDecoder(exported)
    codes = coded(encoder, wav, 3000)
    assert np.array_equal(codes[:, :-1], codec.encode(wav).numpy())
    right = codec.decode(codes).numpy()
    heard = decoded(decoder, codes, 3)
    # Flushing gives the last samples, too, which a whole clip's decoding also has.
    assert heard.shape == right.shape
    assert np.abs(heard - right).max() < CLOSE
    for mine in (encoder, decoder):
        for name in ("name", "hash", "input_rate", "output_rate", "frame_samples_in"):
            assert getattr(mine, name) == getattr(codec, name)
        for name in ("frame_samples_out", "num_codebooks", "codebook_size"):
            assert getattr(mine, name) == getattr(codec, name)
    assert encoder.delay == codec.stream_encoder().delay
    assert decoder.delay == codec.stream_decoder().delay
    assert decoder.delay_samples == codec.stream_decoder().delay_samples


async def test_a_client_codes_with_an_exported_model_on_any_server(
    exported: Path, tiny_causal: Path, clip: Pcm16, sound: Samples
) -> None:
    own = Codec.load(tiny_causal)
    right = coded(EdgeEncoder(exported), sound, 320)
    for server in (running(None), running(own, max_sessions=2, limits=Limits(load=0))):
        async with (
            server as started,
            open_sound(started.url, "loopback", codec="auto", model=exported) as connection,
        ):
            assert (connection.codec, connection.ready.model.hash) == ("here", own.hash)
            for start in range(0, len(clip), 320):
                assert await connection.send_pcm(clip[start : start + 320])
            await connection.end()
            heard = [each.codes async for each in connection if isinstance(each, WireCodes)]
        assert np.array_equal(np.concatenate(heard, axis=1), right)


def test_streams_of_one_model_do_not_mix(sound: Samples, right: Right) -> None:
    one, other = EdgeEncoder(), EdgeEncoder()
    parts = []
    for start in range(0, len(sound), 1280):
        parts.append(one.push(sound[start : start + 1280]))
        other.push(-sound[start : start + 1280])
    assert np.array_equal(np.concatenate([*parts, one.flush()], axis=1), right.codes)


def test_a_flushed_or_reset_stream_begins_anew(sound: Samples, right: Right) -> None:
    encoder, decoder = EdgeEncoder(), EdgeDecoder()
    encoder.push(sound[:3000])
    encoder.reset()
    decoder.push(right.codes[:, 3:5])
    decoder.reset()
    for _ in range(2):
        codes = coded(encoder, sound, 4000)
        assert np.array_equal(codes, right.codes)
        assert np.abs(decoded(decoder, codes, 4) - right.wav).max() < CLOSE


def test_nothing_in_gives_nothing_out() -> None:
    encoder, decoder = EdgeEncoder(), EdgeDecoder()
    assert encoder.push(np.zeros(0, np.float32)).shape == (8, 0)
    assert encoder.flush().shape == (8, 0)
    assert decoder.push(np.zeros((8, 0), np.int64)).shape == (0,)
    assert decoder.flush().shape == (0,)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(1280, np.int16),
        np.zeros((1, 1280), np.float32),
        np.array([0.0, np.nan]),
        np.array([0.0, np.inf]),
        np.array([1e300]),
        np.zeros(3, complex),
        "speech.wav",
        None,
    ],
)
def test_bad_samples_are_refused_and_nothing_is_heard(
    sound: Samples, right: Right, bad: object
) -> None:
    encoder = EdgeEncoder()
    first = encoder.push(sound[:2000])
    with pytest.raises(AudioError):
        encoder.push(bad)  # type: ignore[arg-type]
    codes = np.concatenate([first, encoder.push(sound[2000:]), encoder.flush()], axis=1)
    assert np.array_equal(codes, right.codes)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((8, 2), np.float32),
        np.zeros((8, 2), bool),
        np.zeros(8, np.int64),
        np.zeros((9, 2), np.int64),
        np.zeros((0, 2), np.int64),
        np.full((8, 1), 1024),
        np.full((8, 1), -1),
        np.full((8, 1), 2**64 - 1, np.uint64),
        "codes",
    ],
)
def test_bad_codes_are_refused_and_nothing_is_decoded(right: Right, bad: object) -> None:
    decoder = EdgeDecoder()
    first = decoder.push(right.codes[:, :3])
    with pytest.raises(CodeError):
        decoder.push(bad)  # type: ignore[arg-type]
    sound = np.concatenate([first, decoder.push(right.codes[:, 3:]), decoder.flush()])
    assert np.abs(sound - right.wav).max() < CLOSE


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_a_number_of_threads_that_is_none_is_refused(threads: object) -> None:
    with pytest.raises(ModelError, match="threads"):
        EdgeEncoder(threads=threads)  # type: ignore[arg-type]
