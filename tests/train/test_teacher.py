from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xyt_stream.errors import ModelError
from xyt_stream.train.corpus import open_corpus
from xyt_stream.train.teacher import Teacher, open_features, teach

ctranslate2 = pytest.importorskip("ctranslate2")
pytest.importorskip("faster_whisper")

WIDTH, FFN, WORDS = 64, 128, 64
SHAPES = {  # by the last parts of a weight's name
    "conv1.weight": (WIDTH, 80, 3),
    "conv2.weight": (WIDTH, WIDTH, 3),
    "encodings": (1500, WIDTH),
    "self_attention.linear_0.weight": (3 * WIDTH, WIDTH),
    "attention.linear_1.weight": (WIDTH, WIDTH),
    "attention.linear_0.weight": (WIDTH, WIDTH),
    "layer_0.attention.linear_1.weight": (2 * WIDTH, WIDTH),
    "attention.linear_2.weight": (WIDTH, WIDTH),
    "ffn.linear_0.weight": (FFN, WIDTH),
    "ffn.linear_1.weight": (WIDTH, FFN),
    "embeddings.weight": (WORDS, WIDTH),
    "projection.weight": (WORDS, WIDTH),
    "gamma": (WIDTH,),
    "beta": (WIDTH,),
}


def fill(part: Any, path: str, rng: np.random.Generator) -> None:
    """Random weights for a specification of ctranslate2, whose parts are specifications."""
    for name, value in [*vars(part).items()]:
        where = f"{path}.{name}"
        if isinstance(value, list):
            for number, one in enumerate(value):
                fill(one, f"{where}_{number}", rng)
        elif isinstance(value, ctranslate2.specs.LayerSpec):
            fill(value, where, rng)
        elif value is None or name == "encodings":
            shape = next(
                shape
                for end, shape in sorted(SHAPES.items(), key=lambda item: -len(item[0]))
                if where.endswith(end)
            )
            weight = np.ones(shape) if name == "gamma" else rng.standard_normal(shape) / 8
            setattr(part, name, weight.astype(np.float32))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Whisper of one layer with random weights, as ctranslate2 keeps it."""
    folder = tmp_path_factory.mktemp("models") / "random"
    folder.mkdir()
    spec = ctranslate2.specs.WhisperSpec(1, 2, 1, 2)
    fill(spec, "", np.random.default_rng(0))
    spec.register_vocabulary([f"<{number}>" for number in range(WORDS)])
    spec.validate()
    spec.save(str(folder))
    return str(folder)


def test_there_is_one_mean_for_each_frame_however_long_the_clip(whisper: str) -> None:
    teacher = Teacher(whisper, "cpu")
    noise = np.random.default_rng(0).integers(-3000, 3000, 31 * 16_000).astype(np.int16)
    for samples in (1, 1280, 1281, len(noise)):
        features = teacher.features(noise[:samples])
        assert features.shape == (-(-samples // 1280), WIDTH)
        assert np.isfinite(features).all()


def test_features_lie_where_their_sound_does(whisper: str) -> None:
    samples = np.zeros(40 * 1280, np.int16)
    samples[20 * 1280 :] = np.random.default_rng(0).integers(-9000, 9000, 20 * 1280)
    features = Teacher(whisper, "cpu").features(samples).astype(np.float32)
    change = np.abs(np.diff(features, axis=0)).mean(1)
    assert 18 <= change[1:-1].argmax() + 1 <= 20


def test_each_clip_is_heard_once(whisper: str, speech: Path, tmp_path: Path) -> None:
    corpus = open_corpus(speech, tmp_path)
    heard: list[str] = []

    def stop_after(count: int):
        def listen(clips):
            for clip in clips[:count]:
                heard.append(clip.name)
                yield clip

        return listen

    teach(corpus, tmp_path, whisper, "cpu", stop_after(3))
    features = open_features(corpus, tmp_path, whisper)
    known = [features[clip.start // 1280 : clip.end // 1280].any(1) for clip in corpus.clips]
    assert sorted(bool(rows.all()) for rows in known) == [False, True, True, True]
    assert sorted(bool(rows.any()) for rows in known) == [False, True, True, True]
    teach(corpus, tmp_path, whisper, "cpu", stop_after(9))
    assert open_features(corpus, tmp_path, whisper).any(1).all()
    teach(corpus, tmp_path, whisper, "cpu", stop_after(9))
    assert sorted(heard) == sorted(clip.name for clip in corpus.clips)
    expected = Teacher(whisper, "cpu").features(corpus.clip(corpus.clips[2]))
    first = corpus.clips[2].start // 1280
    found = open_features(corpus, tmp_path, whisper)[first : first + len(expected)]
    assert np.array_equal(found, expected)


def test_a_teacher_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "nothing-here").mkdir()
    with pytest.raises(ModelError, match="nothing-here"):
        Teacher(str(tmp_path / "nothing-here"), "cpu")


def test_complete_features_of_any_origin_need_no_model(speech: Path, tmp_path: Path) -> None:
    corpus = open_corpus(speech, tmp_path)
    np.ones((len(corpus.samples) // 1280, 5), np.float16).tofile(tmp_path / "teacher-mine.f16")
    teach(corpus, tmp_path, "mine", "cpu")
    assert open_features(corpus, tmp_path, "mine").shape == (len(corpus.samples) // 1280, 5)
