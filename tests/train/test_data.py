from __future__ import annotations

import shutil

import numpy as np
import pytest

from xyt_stream.errors import AudioError
from xyt_stream.train.data import Crops, find_clips, load_clip


@pytest.fixture
def folder(tmp_path, fixtures):
    for speaker in ("a", "b"):
        (tmp_path / speaker).mkdir()
        shutil.copy(fixtures / "speech.flac", tmp_path / speaker)
    return tmp_path


def test_finds_clips_below_a_folder(folder):
    (folder / "a" / "notes.txt").write_text("not sound")
    assert [p.relative_to(folder).as_posix() for p in find_clips(folder)] == [
        "a/speech.flac",
        "b/speech.flac",
    ]


def test_a_folder_without_sound_is_named(tmp_path):
    with pytest.raises(AudioError, match=tmp_path.name):
        find_clips(tmp_path)


def test_crops_are_speech_at_many_gains_and_never_clip(folder):
    batch = Crops(folder, frames=5, size=64, seed=0)[0]
    assert batch.shape == (64, 5 * 1280)
    peaks = batch.abs().amax(dim=1)
    assert peaks.max() < 1
    assert peaks.max() > 4 * peaks[peaks > 0].min()


def test_the_same_seed_draws_the_same_crops(folder):
    first, again, other = (Crops(folder, frames=5, size=4, seed=seed) for seed in (1, 1, 2))
    assert first[7].equal(again[7])
    assert not first[7].equal(first[8])
    assert not first[7].equal(other[7])


def test_any_rate_and_channels_will_do(fixtures):
    clip = load_clip(fixtures / "stereo44k.wav")
    assert clip.dtype == np.int16
    assert len(clip) == 16_005  # 44,113 at 44.1 kHz


def test_too_little_speech_is_refused(folder):
    with pytest.raises(AudioError, match="100 frames"):
        Crops(folder, frames=100, size=4, seed=0)
