from __future__ import annotations

import shutil

import pytest

from xyt_stream.errors import AudioError
from xyt_stream.evaluate import text
from xyt_stream.evaluate.text import measure


def test_a_recognizer_learns_the_text_from_codes(codec, tmp_path, fixtures, monkeypatch):
    monkeypatch.setattr(text, "BATCH", 4)
    for i in range(3):
        shutil.copy(fixtures / "speech.flac", tmp_path / f"clip{i}.flac")
    (tmp_path / "metadata.csv").write_text("".join(f"clip{i}|hallo du\n" for i in range(3)))
    trained, untrained = (measure(codec, tmp_path, steps=steps) for steps in (60, 1))
    assert (trained.clips, trained.kept) == (2, 1)
    assert list(trained.error_rates) == [1, 2, 4, 8]
    assert trained.error_rates[8] == 0  # the held-out clip says the same
    assert untrained.error_rates[8] > 0.5
    assert trained.flat()["text_error_8"] == 0
    assert trained.table().row_count == 4


def test_speech_without_text_is_refused(codec, tmp_path):
    with pytest.raises(AudioError, match=r"metadata\.csv"):
        measure(codec, tmp_path)
