"""The model over codes: its arithmetic, its training on a clip, and how it talks in the server."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from xyt_stream import Codec
from xyt_stream.audio import read_audio
from xyt_stream.client import connect
from xyt_stream.errors import ModelError, ServeError
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running
from xyt_stream.server.duplex.models import build

from ..conftest import code_frames

sys.path.insert(0, str(Path(__file__).parents[2] / "demos"))
import duplex_lm
import train_duplex_lm
from duplex_lm import WEIGHTS, WINDOW, Babbler, CodeModel, Speaker, delayed

FRAME = 1280


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = CodeModel(8, 1024, width=32, layers=2, heads=2).eval()
        for parameter in model.parameters():  # far from its beginning, where all is alike
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture
def vectors():
    """Vectors that get smaller from codebook to codebook, as a residual quantizer's do."""
    each = torch.randn(8, 1024, 16, generator=torch.Generator().manual_seed(4))
    return each * 0.2 ** torch.arange(8)[:, None, None]


@pytest.fixture
def random_codes():
    return np.random.default_rng(5).integers(0, 1024, (8, 40))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, fixtures):
    """Trained for a moment on one clip: weights, and the bits a code that it needs for it."""
    folder = tmp_path_factory.mktemp("lm")
    (folder / "speech").mkdir()
    shutil.copy(fixtures / "speech.flac", folder / "speech")
    out = folder / "lm.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_duplex_lm, "BATCH", 256)
        bits = train_duplex_lm.train(folder / "speech", out, folder / "work", 16)
    return out, bits


def test_each_codebook_lags_one_frame_more():
    codes = torch.arange(6).reshape(1, 3, 2)
    assert delayed(codes, 9).tolist() == [[[0, 1, 9, 9], [9, 2, 3, 9], [9, 9, 4, 5]]]


@torch.inference_mode()
def test_step_by_step_it_is_the_same_network(model, random_codes):
    rows = delayed(torch.from_numpy(random_codes)[None], model.nothing)
    whole = model(rows)
    memory = model.memory()
    parts = [model(rows[:, :, :20], memory)]
    parts += [model(rows[:, :, step : step + 1], memory) for step in range(20, rows.shape[2])]
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_it_goes_on_after_the_last_frame_heard(model, vectors, random_codes, monkeypatch):
    """With the likeliest code only, each is what the network says after all that came before."""
    monkeypatch.setattr(duplex_lm, "LIKELIEST", 1)
    monkeypatch.setattr(duplex_lm, "TRUST", 1)
    monkeypatch.setattr(duplex_lm, "FADING", 1)
    speaker = Speaker(model, vectors, random_codes)
    said = np.stack([speaker.next() for _ in range(5)], axis=1)
    codes = torch.from_numpy(np.concatenate([random_codes, said], axis=1))
    begins = torch.full((1, 8, 1), model.nothing)
    rows = torch.cat([begins, delayed(codes[None], model.nothing)], dim=2)
    likeliest = model(rows)[0].argmax(-1)
    checked = 0
    for codebook in range(8):
        for number in range(5):
            step = 40 + number + codebook  # of the delayed row that holds it
            if step <= 45:  # later rows lack some codes
                assert said[codebook, number] == likeliest[codebook, step]
                checked += 1
    assert checked == 5 + 5 + 4 + 3 + 2 + 1


@torch.inference_mode()
def test_it_goes_on_longer_than_it_remembers(model, vectors, random_codes):
    speaker = Speaker(model, vectors, random_codes)
    for _ in range(WINDOW + 20):
        frame = speaker.next()
        assert frame.shape == (8,)
        assert ((frame >= 0) & (frame < 1024)).all()
    assert speaker._memory.steps > WINDOW


@torch.inference_mode()
def test_it_does_not_fall_asleep(model, vectors, random_codes):
    model.quiet[:1000] = True  # nearly all
    speaker = Speaker(model, vectors, random_codes)
    silent = [speaker.next()[0] < 1000 for _ in range(100)]
    for start in range(85):
        assert sum(silent[start : start + duplex_lm.AMONG]) <= duplex_lm.PAUSE
    assert sum(silent) > 10  # and yet it pauses
    assert model.quiet.sum() == 1000


def test_the_cache_alone_continues_as_the_speech_did(model, vectors, random_codes, monkeypatch):
    """With the cache alone, and the most similar frames only, it repeats the speech."""
    monkeypatch.setattr(duplex_lm, "TRUST", 0)
    monkeypatch.setattr(duplex_lm, "ALIKE", 1e4)
    monkeypatch.setattr(duplex_lm, "NEAR", 1e4)
    again = np.concatenate([random_codes, random_codes[:, :3]], axis=1)

    def said(copied):
        monkeypatch.setattr(duplex_lm, "COPIED", copied)
        speaker = Speaker(model, vectors, again)
        return np.stack([speaker.next() for _ in range(6)], axis=1)

    np.testing.assert_array_equal(said(9), random_codes[:, 3:9])
    cut = said(5)  # three of them were in what was heard
    np.testing.assert_array_equal(cut[:, :2], random_codes[:, 3:5])
    assert cut[0, 2] != random_codes[0, 5]


@pytest.mark.parametrize("frames", [1, 3])
def test_little_is_enough_to_go_on_from(model, vectors, random_codes, frames):
    speaker = Speaker(model, vectors, random_codes[:, :frames])
    assert all(len(set(speaker.next())) > 1 for _ in range(20))


@torch.inference_mode()
def test_it_does_not_play_back(codec, clip):
    """Of whatever it says, no more than three frames in a row begin as three heard in a row."""
    model = CodeModel.load(WEIGHTS, codec)
    heard = codec.encode(clip.astype(np.float32) / 32768).numpy()
    speaker = Speaker(model, codec.network.quantizer.codebooks, heard)
    firsts = np.array([speaker.next()[0] for _ in range(200)])

    def copied(length):
        rows = np.lib.stride_tricks.sliding_window_view
        known = {tuple(row) for row in rows(heard[0], length)}
        return sum(tuple(row) in known for row in rows(firsts, length))

    assert copied(1) > 20
    assert copied(duplex_lm.COPIED + 1) == 0


def test_it_speaks_in_the_voice_that_it_heard(codec, fixtures):
    """The weights beside the demo, in two seconds of either of two voices."""
    pytest.importorskip("resemblyzer", exc_type=ImportError)
    from xyt_stream.evaluate.similarity import speaker_similarity

    model = CodeModel.load(WEIGHTS, codec)
    demo = fixtures.parents[1] / "demos" / "speech.flac"
    clips = [read_audio(path)[0][: 26 * FRAME] for path in (fixtures / "speech.flac", demo)]
    heard = [codec.encode(clip) for clip in clips]
    voices = [codec.decode(codes).numpy() for codes in heard]
    for own, codes in enumerate(heard):
        speaker = Speaker(model, codec.network.quantizer.codebooks, codes.numpy())
        said = codec.decode(np.stack([speaker.next() for _ in range(100)], axis=1)).numpy()
        alike = [speaker_similarity(voice, said) for voice in voices]
        assert alike[own] > 0.7
        assert alike[own] > alike[1 - own] + 0.15
        loudness = [np.sqrt(np.square(sound).mean()) for sound in (voices[own], said)]
        assert 0.5 < loudness[1] / loudness[0] < 2


def test_it_knows_the_codes_of_whatever_decoder(codec):
    changed = Codec.load()
    with torch.no_grad():
        for parameter in changed.network.decoder.parameters():
            parameter.zero_()
    changed.hash = "0" * 64
    assert isinstance(CodeModel.load(WEIGHTS, changed), CodeModel)


def test_training_learns(trained, codec):
    quiet = CodeModel.load(trained[0], codec).quiet
    assert quiet.dtype == torch.bool
    assert 1 <= quiet.sum() < 20  # of some seventy frames, a few pauses
    assert trained[1] < 8.5  # 10 bits know nothing


def test_training_goes_on_where_it_was_stopped(tmp_path, fixtures, monkeypatch, trained):
    (tmp_path / "speech").mkdir()
    shutil.copy(fixtures / "speech.flac", tmp_path / "speech")
    monkeypatch.setattr(train_duplex_lm, "SAVED_EVERY", 2)
    monkeypatch.setattr(train_duplex_lm, "BATCH", 128)

    def train(name):
        train_duplex_lm.train(tmp_path / "speech", tmp_path / name, tmp_path / f"{name}-work", 4)
        return load_file(tmp_path / name)

    unbroken = train("one")
    batch = train_duplex_lm.Batches.__getitem__

    def stopped(self, step):
        if step == 3:
            raise KeyboardInterrupt
        return batch(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(train_duplex_lm.Batches, "__getitem__", stopped)
        with pytest.raises(KeyboardInterrupt):
            train("two")
    resumed = train("two")
    assert resumed.keys() == unbroken.keys()
    assert all(torch.equal(resumed[name], unbroken[name]) for name in resumed)


async def test_it_goes_on_when_the_turn_has_ended(codec, clip, trained, monkeypatch):
    monkeypatch.setattr(duplex_lm, "WEIGHTS", trained[0])
    monkeypatch.setattr(Babbler, "_models", {})
    pause = np.zeros(40 * FRAME, np.int16)
    async with (
        running(codec, max_sessions=2, duplex=Babbler, limits=Limits(load=0)) as server,
        connect(server.url, "user", receive=("codes",)) as user,
    ):
        await user.send_pcm(np.concatenate([clip, pause, clip, pause]))
        await user.end()
        said = code_frames([event async for event in user])
    first, second = [n for n in said if n < 80], [n for n in said if n >= 80]
    assert 26 < first[0] < 45
    assert first == list(range(first[0], first[-1] + 1))  # without a gap, until
    assert 66 < first[-1] < 74  # it was interrupted
    assert second == list(range(second[0], -(-(2 * len(clip) + 80 * FRAME) // FRAME)))


def test_weights_of_another_codec_are_refused(codec, trained, model, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="there is no"):
        CodeModel.load(tmp_path / "none.safetensors", codec)
    other = tmp_path / "other.safetensors"
    model.save(other, "0" * 64)
    with pytest.raises(ModelError, match="codes of another codec"):
        CodeModel.load(other, codec)
    monkeypatch.setattr(duplex_lm, "WEIGHTS", other)
    monkeypatch.setattr(Babbler, "_models", {})
    with pytest.raises(ServeError, match="codes of another codec"):
        build(Babbler, codec)
