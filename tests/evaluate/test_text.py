from __future__ import annotations

import shutil

import pytest

from xyt_stream.errors import AudioError
from xyt_stream.evaluate.text import measure


def test_a_reader_learns_what_the_codes_say(codec, tmp_path, fixtures):
    for i in range(3):
        shutil.copy(fixtures / "speech.flac", tmp_path / f"clip{i}.flac")
    (tmp_path / "metadata.csv").write_text("".join(f"clip{i}|hallo du\n" for i in range(3)))
    learnt, ignorant = (measure(codec, tmp_path, steps=steps) for steps in (60, 1))
    assert (learnt.clips, learnt.kept) == (2, 1)
    assert list(learnt.error_rates) == [1, 2, 4, 8]
    assert learnt.error_rates[8] == 0  # the clip that was kept out says the same
    assert ignorant.error_rates[8] > 0.5
    assert learnt.flat()["text_error_8"] == 0
    assert learnt.table().row_count == 4


def test_speech_without_text_is_refused(codec, tmp_path):
    with pytest.raises(AudioError, match=r"metadata\.csv"):
        measure(codec, tmp_path)
