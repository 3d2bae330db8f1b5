from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xyt_stream.audio import read_audio
from xyt_stream.errors import ModelError
from xyt_stream.evaluate.words import Recogniser, WordErrors, split_words

pytest.importorskip("faster_whisper")


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("It's HERE, isn't it?", "en", ["it's", "here", "isn't", "it"]),
        ("'Don\u2019t' stop - now!", "en", ["don't", "stop", "now"]),
        ("Größe 12,5", "de", ["grösse", "12", "5"]),
        ("今天 天气。", "zh", ["今", "天", "天", "气"]),
        (" ... ", "en", []),
    ],
)
def test_words_are_without_case_and_punctuation(text: str, language: str, words: list[str]) -> None:
    assert split_words(text, language) == words


class Scripted(Recogniser):
    """Reads what it was given for a sound's first sample."""

    def __init__(self, texts: dict[float, str]) -> None:
        self._references = {}
        self.texts = texts
        self.asked: list[str | None] = []

    def _read(self, samples, language):
        self.asked.append(language)
        return "en", self.texts[float(samples[0])].split()


def test_errors_are_edits_against_the_text_of_the_original() -> None:
    sound = {n: np.full(4, n, np.float32) for n in (0.0, 1.0, 2.0)}
    made = Scripted({0.0: "a b c d", 1.0: "a x c", 2.0: ""})
    assert made.errors(sound[0.0], sound[1.0]) == WordErrors(2, 4)
    assert made.errors(sound[0.0], sound[0.0].copy()) == WordErrors(0, 4)
    assert made.errors(sound[0.0], sound[2.0]) == WordErrors(4, 4)
    assert made.errors(sound[2.0], sound[0.0]) == WordErrors(4, 0)
    # Each original is read once, and decoded speech in the language of the original.
    assert made.asked == [None, "en", "en", None]


def test_a_recogniser_that_is_not_there_is_named(tmp_path: Path, fixtures: Path) -> None:
    assert len(read_audio(fixtures / "speech.flac")[0])
    with pytest.raises(ModelError, match="cannot be opened"):
        Recogniser(str(tmp_path))
