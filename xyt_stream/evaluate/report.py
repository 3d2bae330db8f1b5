"""Scores a codec, and baselines, over a folder of recordings."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from xyt_stream.audio import Samples, find_clips, fit_length, read_audio, resample
from xyt_stream.errors import AudioError, CodeError
from xyt_stream.evaluate.baselines import Baseline
from xyt_stream.evaluate.metrics import MEASURES, Measure, check_installed
from xyt_stream.evaluate.mos import mos
from xyt_stream.evaluate.words import Recogniser
from xyt_stream.streaming.clips import decode_clip, encode_clip

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

TITLES = {
    "stoi": "STOI",
    "pesq_wb": "PESQ-WB",
    "pesq_nb": "PESQ-NB",
    "sim": "SIM",
    "mel_db": "mel, dB",
    "mos": "MOS",
    "wer": "WER",
}
ORIGINAL = "original"

Progress = Callable[[Sequence[Path]], Iterable[Path]]
OnDecoded = Callable[[str, Samples, Samples], None]


@dataclass(frozen=True)
class FileScore:
    """The scores of one recording.

    Args:
        name: path relative to the folder.
        measures: by the names in TITLES.
        words: the weight of its word error rate in a mean.
    """

    name: str
    seconds: float
    measures: dict[str, float]
    words: int = 0


@dataclass(frozen=True)
class Scores:
    """The scores of a folder of recordings for one codec."""

    files: list[FileScore]
    skipped: dict[str, str]  # file -> the reason why it has no scores

    def means(self) -> dict[str, float]:
        """Returns each measure's mean over the files; the word error rate is one over all words."""
        means = {}
        for name in self.files[0].measures:
            weights = [file.words if name == "wer" else 1 for file in self.files]
            total = sum(w * f.measures[name] for w, f in zip(weights, self.files, strict=True))
            means[name] = total / sum(weights)
        return means


@dataclass(frozen=True)
class Report:
    """The result of `xyt-stream eval`."""

    model: str
    model_hash: str
    lookahead: int | None  # frames; None: offline
    codebooks: int  # decoded: the first ones
    original: Scores  # of the recordings themselves
    scores: Scores
    counts: npt.NDArray[np.int64]  # [codebooks, codebook_size], how often each code occurred
    real_time_factor: float  # seconds of computing for each second of sound
    baselines: dict[str, Scores]

    @property
    def usage(self) -> list[float]:
        """The share of each codebook's codes that occurred."""
        return [float((codebook > 0).mean()) for codebook in self.counts]

    @property
    def entropy(self) -> list[float]:
        """The entropy of each codebook, bits per code."""
        return [entropy_bits(codebook) for codebook in self.counts]

    def flat(self) -> dict[str, Any]:
        """Returns the report for `--json`."""
        return {
            "model": self.model,
            "model_hash": self.model_hash,
            "lookahead": self.lookahead,
            "codebooks": self.codebooks,
            "files": len(self.scores.files),
            "skipped": len(self.scores.skipped),
            "seconds": sum(file.seconds for file in self.scores.files),
            **self.scores.means(),
            "code_usage": self.usage,
            "code_entropy_bits": self.entropy,
            "real_time_factor": self.real_time_factor,
            "original": self.original.means(),
            "peers": {name: scores.means() for name, scores in self.baselines.items()},
            "per_file": [
                {"name": file.name, "seconds": file.seconds, **file.measures}
                for file in self.scores.files
            ],
        }

    def write_csv(self, path: Path) -> None:
        """Writes one line for each codec and file: originals, the model, baselines."""
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["codec", "file", "seconds", *self.names])
            for codec, scores in self._codecs().items():
                for score in scores.files:
                    values = (f"{value:.4f}" for value in score.measures.values())
                    table.writerow([codec, score.name, f"{score.seconds:.2f}", *values])

    def tables(self) -> list[Table]:
        """Returns tables for the terminal: files, baselines, codebooks."""
        used = f", {self.codebooks} codebooks" if self.codebooks < len(self.counts) else ""
        files = self._table(f"{self.model}{used}: {len(self.scores.files)} files", "file")
        files.add_row(f"mean of the {ORIGINAL}s", *self._shown(self.original.means()))
        for file in self.scores.files:
            files.add_row(file.name, *self._shown(file.measures))
        files.add_section()
        files.add_row("mean", *self._shown(self.scores.means()))
        tables = [files]
        if self.baselines:
            means = self._table("beside baselines: means", "codec")
            for name, scores in self._codecs().items():
                means.add_row(name, *self._shown(scores.means()))
            tables.append(means)
        codes = Table("codebook", title=f"codes; real-time factor {self.real_time_factor:.3f}")
        for codebook in range(len(self.counts)):
            codes.add_column(str(codebook + 1), justify="right")
        codes.add_row("codes in use", *(f"{share:.0%}" for share in self.usage))
        codes.add_row("entropy, bits", *(f"{bits:.2f}" for bits in self.entropy))
        return [*tables, codes]

    @property
    def names(self) -> list[str]:
        """The names of the measures."""
        return [*self.original.means()]

    def _codecs(self) -> dict[str, Scores]:
        return {ORIGINAL: self.original, self.model: self.scores, **self.baselines}

    def _table(self, title: str, first: str) -> Table:
        table = Table(first, title=title)
        for name in self.names:
            table.add_column(TITLES[name], justify="right")
        return table

    def _shown(self, measures: dict[str, float]) -> list[str]:
        return [f"{measures[name]:.3f}" for name in self.names]


def evaluate(
    codec: Codec,
    folder: Path,
    *,
    lookahead: int | None = 0,
    codebooks: int | None = None,
    baselines: Sequence[Baseline] = (),
    opinions: bool = False,
    recogniser: Recogniser | None = None,
    on_decoded: OnDecoded | None = None,
    progress: Progress = iter,
) -> Report:
    """Scores every sound file under `folder`.

    Args:
        lookahead: future frames that each live step sees; None: offline.
        codebooks: decode only this many, the first ones; None: all.
        baselines: codecs to score on the same files.
        opinions: whether mean opinion scores are predicted, too.
        recogniser: counts word errors, too.
        on_decoded: called for each scored file with its name, the original and the decoded sound,
            both float32 [samples] at `codec.input_rate`.
        progress: wraps the list of files to show progress.

    Raises:
        AudioError: there is no sound file, a file cannot be read, or none has enough speech.
        CodeError: the model has fewer codebooks.
        MissingExtraError: the packages of the measures are not installed.
    """
    check_installed()
    if codebooks is not None and not 1 <= codebooks <= codec.num_codebooks:
        raise CodeError(f"{codec.name} has {codec.num_codebooks} codebooks, not {codebooks}")
    paths = find_clips(folder)
    counts = np.zeros((codec.num_codebooks, codec.codebook_size), np.int64)
    work = sound = 0.0

    def roundtrip(samples: Samples) -> Samples:
        nonlocal work, sound
        start = time.perf_counter()
        codes = encode_clip(codec, samples, lookahead)
        decoded = decode_clip(codec, codes[:codebooks], lookahead)
        work += time.perf_counter() - start
        sound += len(samples) / codec.input_rate
        for codebook, used in zip(counts, codes.cpu().numpy(), strict=True):
            codebook += np.bincount(used, minlength=codec.codebook_size)
        return resample(decoded.cpu().numpy(), codec.output_rate, codec.input_rate)

    measures = dict(MEASURES)
    if opinions:
        measures["mos"] = lambda _, degraded: mos(degraded)
    score = _Scoring(paths, folder, codec.input_rate, measures, recogniser, progress)
    original, scores = score(lambda samples: samples), score(roundtrip, on_decoded)
    return Report(
        model=codec.name,
        model_hash=codec.hash,
        lookahead=lookahead,
        codebooks=codebooks or codec.num_codebooks,
        original=original,
        scores=scores,
        counts=counts,
        real_time_factor=work / sound,
        baselines={each.name: score(each.roundtrip) for each in baselines},
    )


@dataclass(frozen=True)
class _Scoring:
    """Scores the same recordings by the same measures after any round trip."""

    paths: Sequence[Path]
    folder: Path
    rate: int  # Hz
    measures: dict[str, Measure]
    recogniser: Recogniser | None
    progress: Progress

    def __call__(
        self, roundtrip: Callable[[Samples], Samples], on_decoded: OnDecoded | None = None
    ) -> Scores:
        scores = Scores([], {})
        for path in self.progress(self.paths):
            name = path.relative_to(self.folder).as_posix()
            try:
                samples, info = read_audio(path, self.rate)
                decoded = fit_length(roundtrip(samples), len(samples))
                scores.files.append(self._file(name, info.seconds, samples, decoded))
            except AudioError as error:
                scores.skipped[name] = str(error)
                continue
            if on_decoded is not None:
                on_decoded(name, samples, decoded)
        if not scores.files:
            name, reason = next(iter(scores.skipped.items()))
            raise AudioError(f"no file in {self.folder} can be scored; {name}: {reason}")
        return scores

    def _file(self, name: str, seconds: float, samples: Samples, decoded: Samples) -> FileScore:
        measures = {title: measure(samples, decoded) for title, measure in self.measures.items()}
        if self.recogniser is None:
            return FileScore(name, seconds, measures)
        errors, words = self.recogniser.errors(samples, decoded)
        measures["wer"] = errors / max(1, words)
        return FileScore(name, seconds, measures, max(1, words))


def entropy_bits(counts: npt.NDArray[np.int64]) -> float:
    """Returns the entropy, in bits, of codes that occurred `counts[code]` times each."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0
