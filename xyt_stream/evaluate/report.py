"""Scores a codec, and baselines, over a folder of recordings."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.markup import escape
from rich.table import Table

from xyt_stream.audio import Samples, fit_length, read_audio, resample
from xyt_stream.errors import AudioError, CodeError
from xyt_stream.evaluate.baselines import Baseline
from xyt_stream.evaluate.metrics import MEASURES, check_installed
from xyt_stream.streaming.clips import decode_clip, encode_clip

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

SOUND_FILES = {".wav", ".flac", ".ogg", ".mp3"}
TITLES = {
    "stoi": "STOI",
    "pesq_wb": "PESQ-WB",
    "pesq_nb": "PESQ-NB",
    "sim": "SIM",
    "mel_db": "mel, dB",
}

Progress = Callable[[Sequence[Path]], Iterable[Path]]


@dataclass(frozen=True)
class FileScore:
    """The scores of one recording."""

    name: str  # path relative to the folder
    seconds: float
    measures: dict[str, float]  # by the names in MEASURES


@dataclass(frozen=True)
class Scores:
    """The scores of a folder of recordings for one codec."""

    files: list[FileScore]
    skipped: dict[str, str]  # file -> the reason why it has no scores

    def means(self) -> dict[str, float]:
        """Returns each measure's mean over the files."""
        return {name: fmean(file.measures[name] for file in self.files) for name in MEASURES}


@dataclass(frozen=True)
class Report:
    """The result of `xyt-stream eval`."""

    model: str
    model_hash: str
    lookahead: int | None  # frames; None: offline
    codebooks: int  # decoded: the first ones
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
            "peers": {name: scores.means() for name, scores in self.baselines.items()},
            "per_file": [
                {"name": file.name, "seconds": file.seconds, **file.measures}
                for file in self.scores.files
            ],
        }

    def write_csv(self, path: Path) -> None:
        """Writes one line for each codec and file, the baselines last."""
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["codec", "file", "seconds", *MEASURES])
            for codec, scores in {self.model: self.scores, **self.baselines}.items():
                for score in scores.files:
                    values = (f"{value:.4f}" for value in score.measures.values())
                    table.writerow([codec, score.name, f"{score.seconds:.2f}", *values])

    def tables(self) -> list[Table]:
        """Returns tables for the terminal: files, baselines, codebooks."""
        used = f", {self.codebooks} codebooks" if self.codebooks < len(self.counts) else ""
        files = _measures_table(f"{self.model}{used}: {len(self.scores.files)} files", "file")
        for file in self.scores.files:
            files.add_row(escape(file.name), *_shown(file.measures))
        files.add_section()
        files.add_row("mean", *_shown(self.scores.means()))
        tables = [files]
        if self.baselines:
            means = _measures_table("beside baselines: means", "codec")
            for name, scores in {self.model: self.scores, **self.baselines}.items():
                means.add_row(name, *_shown(scores.means()))
            tables.append(means)
        codes = Table("codebook", title=f"codes; real-time factor {self.real_time_factor:.3f}")
        for codebook in range(len(self.counts)):
            codes.add_column(str(codebook + 1), justify="right")
        codes.add_row("codes in use", *(f"{share:.0%}" for share in self.usage))
        codes.add_row("entropy, bits", *(f"{bits:.2f}" for bits in self.entropy))
        return [*tables, codes]


def _measures_table(title: str, first: str) -> Table:
    table = Table(first, title=title)
    for name in MEASURES:
        table.add_column(TITLES[name], justify="right")
    return table


def _shown(measures: dict[str, float]) -> list[str]:
    return [f"{measures[name]:.3f}" for name in MEASURES]


def evaluate(
    codec: Codec,
    folder: Path,
    *,
    lookahead: int | None = 0,
    codebooks: int | None = None,
    baselines: Sequence[Baseline] = (),
    progress: Progress = iter,
) -> Report:
    """Scores every sound file under `folder`.

    Args:
        lookahead: future frames that each live step sees; None: offline.
        codebooks: decode only this many, the first ones; None: all.
        baselines: codecs to score on the same files.
        progress: wraps the list of files to show progress.

    Raises:
        AudioError: there is no sound file, a file cannot be read, or none has enough speech.
        CodeError: the model has fewer codebooks.
        MissingExtraError: the packages of the measures are not installed.
    """
    check_installed()
    if codebooks is not None and not 1 <= codebooks <= codec.num_codebooks:
        raise CodeError(f"{codec.name} has {codec.num_codebooks} codebooks, not {codebooks}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_FILES)
    if not paths:
        raise AudioError(f"there are no sound files (wav, flac, ogg, mp3) in {folder}")
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

    scores = _score(paths, folder, codec.input_rate, roundtrip, progress)
    return Report(
        model=codec.name,
        model_hash=codec.hash,
        lookahead=lookahead,
        codebooks=codebooks or codec.num_codebooks,
        scores=scores,
        counts=counts,
        real_time_factor=work / sound,
        baselines={
            each.name: _score(paths, folder, codec.input_rate, each.roundtrip, progress)
            for each in baselines
        },
    )


def _score(
    paths: Sequence[Path],
    folder: Path,
    rate: int,
    roundtrip: Callable[[Samples], Samples],
    progress: Progress,
) -> Scores:
    scores = Scores([], {})
    for path in progress(paths):
        name = path.relative_to(folder).as_posix()
        samples, info = read_audio(path, rate)
        decoded = fit_length(roundtrip(samples), len(samples))
        try:
            measures = {title: measure(samples, decoded) for title, measure in MEASURES.items()}
            scores.files.append(FileScore(name, info.seconds, measures))
        except AudioError as error:
            scores.skipped[name] = str(error)
    if not scores.files:
        raise AudioError(f"no file in {folder} has enough speech to score")
    return scores


def entropy_bits(counts: npt.NDArray[np.int64]) -> float:
    """Returns the entropy, in bits, of codes that occurred `counts[code]` times each."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0
