"""Counts the words that a speech recogniser understands differently in decoded speech."""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

from xyt_stream.audio import Samples
from xyt_stream.errors import MissingExtraError, ModelError
from xyt_stream.train.text import edit_distance

UNSPACED = {"ja", "ko", "th", "yue", "zh"}  # languages counted by characters, as usual


class WordErrors(NamedTuple):
    """Insertions, deletions and substitutions, and the words of the original."""

    errors: int
    words: int


class Recogniser:
    """Recognises speech with Whisper, by faster-whisper; the original's text is the reference.

    Args:
        name: a model folder or a hub name, such as "base".

    Raises:
        ModelError: there is no such model.
        MissingExtraError: faster-whisper is not installed.
    """

    def __init__(self, name: str) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise MissingExtraError("Word errors", "eval") from None
        try:
            self._model: Any = WhisperModel(name, device="cpu", compute_type="int8")
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"the recogniser {name} cannot be opened: {error}") from error
        self._references: dict[bytes, tuple[str, list[str]]] = {}

    def errors(self, reference: Samples, degraded: Samples) -> WordErrors:
        """Word errors of the degraded speech.

        Args:
            reference, degraded: float32 [samples] at 16 kHz.
        """
        if reference.tobytes() not in self._references:
            self._references[reference.tobytes()] = self._read(reference, None)
        language, wanted = self._references[reference.tobytes()]
        if degraded.tobytes() in self._references:
            found = self._references[degraded.tobytes()][1]
        else:
            _, found = self._read(degraded, language)
        number = {word: i for i, word in enumerate({*wanted, *found})}
        edits = edit_distance([number[w] for w in found], [number[w] for w in wanted])
        return WordErrors(edits, len(wanted))

    def _read(self, samples: Samples, language: str | None) -> tuple[str, list[str]]:
        # One temperature: else it tries again at random, and no two runs score the same.
        segments, info = self._model.transcribe(
            samples, language=language, temperature=0.0, condition_on_previous_text=False
        )
        text = " ".join(segment.text for segment in segments)
        return info.language, split_words(text, info.language)


def split_words(text: str, language: str) -> list[str]:
    """Words without case and punctuation; characters in languages without spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    kept = "".join(
        c if c.isalnum() or unicodedata.category(c).startswith("M") or c == "'" else " "
        for c in folded
    )
    if language in UNSPACED:
        return [*"".join(kept.split())]
    return [word for word in (word.strip("'") for word in kept.split()) if word]
