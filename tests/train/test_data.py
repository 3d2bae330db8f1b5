from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from xyt_stream.errors import AudioError
from xyt_stream.train.augment import SPEED
from xyt_stream.train.corpus import Corpus, open_corpus
from xyt_stream.train.data import Crops, Request, load


@pytest.fixture
def corpus(speech: Path, tmp_path: Path) -> Corpus:
    return open_corpus(speech, tmp_path)


def levels(folder: Path, seconds: dict[str, float]) -> Corpus:
    """A corpus whose speakers, named SOURCE/SPEAKER, differ by one constant each."""
    for number, (name, length) in enumerate(seconds.items(), start=1):
        path = folder / "data" / name / "clip.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, np.full(round(length * 16_000), number / 100), 16_000)
    return open_corpus(folder / "data", folder)


def test_crops_are_speech_at_many_gains_and_never_clip(corpus: Corpus) -> None:
    wav = Crops(corpus, None, seed=0)[Request(0, 64, 5)].wav
    assert wav.shape == (64, 5 * 1280)
    peaks = wav.abs().amax(dim=1)
    assert peaks.max() < 1
    assert peaks.max() > 4 * peaks[peaks > 0].min()


def test_the_same_seed_draws_the_same_crops(corpus: Corpus) -> None:
    first, again, other = (Crops(corpus, None, seed=seed) for seed in (1, 1, 2))
    seventh = Request(7, 4, 5)
    assert first[seventh].wav.equal(again[seventh].wav)
    assert not first[seventh].wav.equal(first[Request(8, 4, 5)].wav)
    assert not first[seventh].wav.equal(other[seventh].wav)


def test_too_little_speech_is_refused(corpus: Corpus) -> None:
    with pytest.raises(AudioError, match="250 frames"):
        Crops(corpus, None, seed=0)[Request(0, 4, 250)]


def test_neither_one_long_speaker_nor_many_short_ones_fill_the_crops(tmp_path: Path) -> None:
    many = {f"many/{number:02}": 1.0 for number in range(16)}
    crops = Crops(levels(tmp_path, {"long/one": 100.0, "short/one": 4.0, **many}), None, seed=0)
    # By length it would be 83, 3 and 13 %.
    assert crops.shares["long"] == pytest.approx(10**0.5 / (10**0.5 + 2**0.5 + 4), rel=0.02)
    assert crops.shares["many"] == pytest.approx(4 / (10**0.5 + 2**0.5 + 4), rel=0.03)
    drawn = Counter(np.random.default_rng(0).choice(len(crops.weights), 999, p=crops.weights))
    assert len(drawn) == 18


def test_words_are_drawn_seldom(tmp_path: Path) -> None:
    corpus = levels(tmp_path, {"words/one": 9.0, "talk/one": 9.0})
    assert Crops(corpus, None, seed=0).shares["words"] == pytest.approx(0.5)
    assert Crops(corpus, None, seldom=["words"], seed=0).shares["words"] == pytest.approx(0.2)
    with pytest.raises(AudioError, match="no folder letters"):
        Crops(corpus, None, seldom=["letters"], seed=0)


def test_a_crop_lies_within_its_speaker_where_he_speaks_long_enough(tmp_path: Path) -> None:
    corpus = levels(tmp_path, {"a/one": 3.0, "b/one": 3.0})
    frames = np.arange(len(corpus.samples) // 1280, dtype=np.float16)[:, None] + 1
    crops = Crops(corpus, frames, seed=0)
    for step in range(12):
        features = crops[Request(step, 8, 20)].features
        assert features is not None
        speakers = (features[:, :, 0] > corpus.clips[1].start // 1280 + 0.5).float().mean(1)
        assert set(speakers.tolist()) <= {0.0, 1.0}


def test_features_are_those_of_the_sound_at_its_speed(corpus: Corpus) -> None:
    # A clock for features: the number of each frame of the corpus, from 1 on.
    clock = np.arange(1, len(corpus.samples) // 1280 + 1, dtype=np.float16)[:, None]
    batch = Crops(corpus, clock, seed=0)[Request(3, 32, 10)]
    assert batch.features is not None
    assert batch.known is not None
    speeds = batch.features[:, 1:, 0] - batch.features[:, :-1, 0]
    assert speeds.min() >= SPEED[0] - 0.02
    assert speeds.max() <= SPEED[1] + 0.02
    assert (speeds - speeds.mean(1, keepdim=True)).abs().max() < 0.02  # one speed in each crop
    assert speeds.mean(1).std() > 0.05


def test_features_of_silenced_frames_are_not_known(corpus: Corpus) -> None:
    features = np.ones((len(corpus.samples) // 1280, 3), np.float16)
    batch = Crops(corpus, features, seed=0)[Request(0, 64, 10)]
    assert batch.known is not None
    silent = batch.wav.view(64, 10, 1280).eq(0).all(2)
    assert silent.any()
    assert torch.equal(batch.known, ~silent)


def test_crops_without_teacher_features_are_masked(corpus: Corpus) -> None:
    features = np.ones((len(corpus.samples) // 1280, 3), np.float16)
    features[::2] = 0
    batch = Crops(corpus, features, seed=0)[Request(0, 8, 10)]
    assert batch.features is not None
    assert batch.known is not None
    assert not batch.known.any()


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")
def test_the_workers_beside_a_gpu_bring_the_same_batches_in_order(corpus: Corpus) -> None:
    crops = Crops(corpus, None, seed=0)
    asked = [Request(step, 2, 5) for step in range(6)]
    batches = [*load(crops, iter(asked), torch.device("cuda"))]
    assert len(batches) == 6
    for request, batch in zip(asked, batches, strict=True):
        assert torch.equal(batch.wav, crops[request].wav)


def test_keys_are_drawn_only_when_they_are_needed(corpus: Corpus) -> None:
    drawn: list[int] = []

    def requests():
        for step in range(99):
            drawn.append(step)
            yield Request(step, 1, 5)

    batches = load(Crops(corpus, None, seed=0), requests(), torch.device("cpu"))
    next(batches)
    next(batches)
    assert drawn == [0, 1]
