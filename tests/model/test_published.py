"""Compares with vectors of the published implementation; see fixtures/README.md."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.model.published_dialects import published_state
from xyt_stream import Codec
from xyt_stream.audio import read_audio
from xyt_stream.errors import ModelError
from xyt_stream.model import checkpoint, hub

CASES = [("xy16k", 1), ("xy16k", 2), ("xy24k", 0), ("xy24k", 1)]


@pytest.fixture(scope="module")
def codecs(fixtures, device) -> dict[str, Codec]:
    folder = fixtures / "published"
    names = ("xy16k", "xy24k")
    return {name: Codec.load(folder / name / "weights.ckpt", str(device)) for name in names}


@pytest.fixture(scope="module")
def vectors(fixtures):
    return {
        name: load_file(fixtures / "published" / name / "vectors.safetensors")
        for name in ("xy16k", "xy24k")
    }


def sound(fixtures: Path, name: str, case: int) -> torch.Tensor:
    return torch.from_numpy(read_audio(fixtures / "published" / name / f"input_{case}.flac")[0])


def assert_sounds_like(wav: torch.Tensor, vectors, case: int) -> None:
    """Within 1e-3 of the reference's peak wherever the fixture kept its sound."""
    assert len(wav) == vectors[f"samples_{case}"].item()
    for start, part in zip(vectors[f"starts_{case}"], vectors[f"output_{case}"], strict=True):
        got = wav[start : start + len(part)]
        assert (got - part.float()).abs().max() < 1e-3 * vectors[f"peak_{case}"].item()


@pytest.mark.device
@pytest.mark.parametrize(("name", "case"), CASES)
def test_codes_and_sound_are_the_published_ones(codecs, vectors, fixtures, same_codes, name, case):
    codec, expected = codecs[name], vectors[name]
    codes = codec.encode(sound(fixtures, name, case))
    assert same_codes(codes, expected[f"codes_{case}"].long())
    assert_sounds_like(codec.decode(codes), expected, case)


@pytest.mark.parametrize("name", ["xy16k", "xy24k"])
def test_batches_of_unequal_length(codecs, vectors, fixtures, name):
    codec, expected = codecs[name], vectors[name]
    cases = [case for n, case in CASES if n == name]
    clips = [sound(fixtures, name, case) for case in cases]
    lengths = torch.tensor([len(clip) for clip in clips])
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    codes = codec.encode(batch, lengths)
    wav = codec.decode(codes, lengths // 1280)
    for i, case in enumerate(cases):
        frames = len(clips[i]) // 1280
        assert torch.equal(codes[i, :, :frames], expected[f"codes_{case}"].long())
        assert_sounds_like(wav[i, : frames * codec.frame_samples_out], expected, case)


@pytest.fixture(scope="module")
def edges(fixtures):
    """Clips of 20.0, 20.08, 24.1 and 30.0 s: each begins the same speech, and ends in a window."""
    folder = fixtures / "published" / "xy16k"
    expected = load_file(folder / "edges.safetensors")
    speech = torch.from_numpy(read_audio(folder / "edges.flac")[0])
    return expected, [speech[: expected[f"heard_{case}"].item()] for case in range(4)]


@pytest.mark.parametrize("case", range(4))
def test_a_window_begins_wherever_20_s_are_over(codecs, edges, case):
    expected, clips = edges
    codes = codecs["xy16k"].encode(clips[case])
    assert torch.equal(codes, expected[f"codes_{case}"].long())
    assert_sounds_like(codecs["xy16k"].decode(codes), expected, case)


def test_a_batch_equals_its_clips_alone(codecs, edges):
    codec, (expected, clips) = codecs["xy16k"], edges
    clips = [*clips, clips[1][:100_000], clips[0].repeat(2)[: 501 * 1280]]
    lengths = torch.tensor([len(clip) for clip in clips])
    codes = codec.encode(torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths)
    wav = codec.decode(codes, lengths // 1280)
    for i, clip in enumerate(clips):
        frames = len(clip) // 1280
        alone = codec.encode(clip)
        assert torch.equal(codes[i, :, :frames], alone)
        sound = codec.decode(alone)
        heard = wav[i, : len(sound)]
        assert (heard - sound).abs().max() < 1e-4 * sound.abs().max()
        assert not wav[i, len(sound) :].any()
        if i < 4:
            assert torch.equal(alone, expected[f"codes_{i}"].long())


def test_rates_come_from_either_dialect(codecs):
    assert (codecs["xy16k"].output_rate, codecs["xy16k"].frame_samples_out) == (16_000, 1280)
    assert (codecs["xy24k"].output_rate, codecs["xy24k"].frame_samples_out) == (24_000, 1920)
    assert not codecs["xy16k"].causal


def folder_with(tmp_path: Path, fixtures: Path, state) -> Path:
    shutil.copy(fixtures / "published/xy24k/config.yaml", tmp_path / "model.yaml")
    torch.save(state, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("container", ["torch", "pickle"])
def test_a_hostile_pickle_is_refused_and_runs_nothing(fixtures, tmp_path, container):
    trace = tmp_path / "it-ran"
    state = {**published_state(fixtures), "boom": Hostile(trace)}
    path = folder_with(tmp_path, fixtures, state)
    if container == "pickle":
        path.write_bytes(pickle.dumps({"generator": {"boom": Hostile(trace)}}))
    with pytest.raises(ModelError, match=r"model\.ckpt is refused"):
        Codec.load(path)
    assert not trace.exists()


def test_a_truncated_file_is_named(fixtures, tmp_path):
    path = folder_with(tmp_path, fixtures, published_state(fixtures))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelError, match=r"model\.ckpt"):
        Codec.load(path)


@pytest.mark.parametrize("name", ["xy16k", "xy24k"])
def test_converted_it_is_the_same_model_in_one_file(codecs, fixtures, tmp_path, name):
    target = tmp_path / "one.safetensors"
    checkpoint.convert(hub.find(fixtures / "published" / name / "weights.ckpt"), target)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    original, converted = codecs[name], Codec.load(target)
    assert (converted.name, converted.hash) == (original.name, original.hash)
    assert converted.network.config == original.network.config
    clip = sound(fixtures, name, 1)[: 40 * 1280]
    codes = original.encode(clip)
    assert torch.equal(converted.encode(clip), codes)
    assert torch.equal(converted.decode(codes), original.decode(codes))
