"""Scores of a codec over a folder of recordings."""

from __future__ import annotations

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

from xyt_stream.audio import fit_length, read_audio, resample
from xyt_stream.errors import AudioError
from xyt_stream.evaluate.listen import decode_clip, encode_clip
from xyt_stream.evaluate.metrics import pesq, stoi

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

SOUND_FILES = {".wav", ".flac", ".ogg", ".mp3"}


@dataclass(frozen=True)
class FileScore:
    """How well one recording came through."""

    name: str  # path inside the folder
    seconds: float
    stoi: float
    pesq_wb: float
    pesq_nb: float


@dataclass(frozen=True)
class Report:
    """How well a folder of recordings came through."""

    model: str
    model_hash: str
    lookahead: int | None  # frames; None: offline
    scores: list[FileScore]
    skipped: dict[str, str]  # file -> why it could not be judged
    usage: list[float]  # of each book, the share of its codes that occurred
    entropy: list[float]  # of each book, bits a code
    real_time_factor: float  # seconds of work for a second of sound

    def mean(self, measure: str) -> float:
        """Mean of "stoi", "pesq_wb" or "pesq_nb" over the files."""
        return fmean(getattr(score, measure) for score in self.scores)

    def flat(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "model": self.model,
            "model_hash": self.model_hash,
            "lookahead": self.lookahead,
            "files": len(self.scores),
            "skipped": len(self.skipped),
            "seconds": sum(score.seconds for score in self.scores),
            **{name: self.mean(name) for name in ("stoi", "pesq_wb", "pesq_nb")},
            "code_usage": self.usage,
            "code_entropy_bits": self.entropy,
            "real_time_factor": self.real_time_factor,
            "per_file": [vars(score) for score in self.scores],
        }

    def tables(self) -> list[Table]:
        """The report for the terminal: files, then books."""
        files = Table(title=f"{self.model}: {len(self.scores)} files", show_footer=True)
        files.add_column("file", "mean")
        files.add_column("seconds", justify="right")
        for title, name in (("STOI", "stoi"), ("PESQ-WB", "pesq_wb"), ("PESQ-NB", "pesq_nb")):
            files.add_column(title, f"{self.mean(name):.3f}", justify="right")
        for score in self.scores:
            measures = (score.stoi, score.pesq_wb, score.pesq_nb)
            files.add_row(
                escape(score.name), f"{score.seconds:.1f}", *(f"{value:.3f}" for value in measures)
            )
        way = "offline" if self.lookahead is None else f"live, lookahead {self.lookahead}"
        books = Table(
            "codebook", title=f"codes; real-time factor {self.real_time_factor:.3f}, {way}"
        )
        for book in range(len(self.usage)):
            books.add_column(str(book + 1), justify="right")
        books.add_row("in use", *(f"{share:.0%}" for share in self.usage))
        books.add_row("entropy, bits", *(f"{bits:.2f}" for bits in self.entropy))
        return [files, books]


def evaluate(
    codec: Codec,
    folder: Path,
    *,
    lookahead: int | None = 0,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Report:
    """Scores what every sound file under `folder` becomes, at `codec.input_rate`.

    Args:
        lookahead: frames of the future that each step of a live stream sees; None: offline.
        progress: wraps the list of files, to show how far along it is.

    Raises:
        AudioError: there is no sound file, a file cannot be read, or none can be judged.
        MissingExtraError: the measures are not installed.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_FILES)
    if not paths:
        raise AudioError(f"there are no sound files (wav, flac, ogg, mp3) in {folder}")
    scores: list[FileScore] = []
    skipped: dict[str, str] = {}
    counts = np.zeros((codec.num_codebooks, codec.codebook_size), np.int64)
    work = sound = 0.0
    for path in progress(paths):
        name = path.relative_to(folder).as_posix()
        samples, info = read_audio(path, codec.input_rate)
        start = time.perf_counter()
        codes = encode_clip(codec, samples, lookahead)
        decoded = decode_clip(codec, codes, lookahead)
        work += time.perf_counter() - start
        sound += info.seconds
        for book, used in zip(counts, codes.numpy(), strict=True):
            book += np.bincount(used, minlength=codec.codebook_size)
        out = resample(decoded.numpy(), codec.output_rate, codec.input_rate)
        out = fit_length(out, len(samples))
        try:
            scores.append(
                FileScore(
                    name=name,
                    seconds=info.seconds,
                    stoi=stoi(samples, out, codec.input_rate),
                    pesq_wb=pesq(samples, out, codec.input_rate, "wb"),
                    pesq_nb=pesq(samples, out, codec.input_rate, "nb"),
                )
            )
        except AudioError as error:
            skipped[name] = str(error)
    if not scores:
        raise AudioError(f"no file in {folder} holds enough speech to judge")
    return Report(
        model=codec.name,
        model_hash=codec.hash,
        lookahead=lookahead,
        scores=scores,
        skipped=skipped,
        usage=[float((book > 0).mean()) for book in counts],
        entropy=[entropy_bits(book) for book in counts],
        real_time_factor=work / sound,
    )


def entropy_bits(counts: npt.NDArray[np.int64]) -> float:
    """Entropy, in bits, of a code that occurred `counts[code]` times."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0
