"""Scores of a codec, and of codecs people know, over a folder of recordings."""

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
from xyt_stream.evaluate.baselines import Peer
from xyt_stream.evaluate.listen import decode_clip, encode_clip
from xyt_stream.evaluate.metrics import MEASURES, check_installed

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
    """How well one recording came through."""

    name: str  # path inside the folder
    seconds: float
    measures: dict[str, float]  # by the names in MEASURES


@dataclass(frozen=True)
class Scores:
    """How well a folder of recordings came through something."""

    files: list[FileScore]
    skipped: dict[str, str]  # file -> why it could not be judged

    def means(self) -> dict[str, float]:
        """Each measure's mean over the files."""
        return {name: fmean(file.measures[name] for file in self.files) for name in MEASURES}


@dataclass(frozen=True)
class Report:
    """All that `xyt-stream eval` tells."""

    model: str
    model_hash: str
    lookahead: int | None  # frames; None: offline
    codebooks: int  # that were decoded
    scores: Scores
    counts: npt.NDArray[np.int64]  # [codebooks, codebook_size], how often each code occurred
    real_time_factor: float  # seconds of work for a second of sound
    peers: dict[str, Scores]

    @property
    def usage(self) -> list[float]:
        """Of each book, the share of its codes that occurred."""
        return [float((book > 0).mean()) for book in self.counts]

    @property
    def entropy(self) -> list[float]:
        """Of each book, bits a code."""
        return [entropy_bits(book) for book in self.counts]

    def flat(self) -> dict[str, Any]:
        """The report for `--json`."""
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
            "peers": {name: scores.means() for name, scores in self.peers.items()},
            "per_file": [
                {"name": file.name, "seconds": file.seconds, **file.measures}
                for file in self.scores.files
            ],
        }

    def write_csv(self, path: Path) -> None:
        """One line for each file, the peers' files after."""
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["codec", "file", "seconds", *MEASURES])
            for codec, scores in {self.model: self.scores, **self.peers}.items():
                for score in scores.files:
                    values = (f"{value:.4f}" for value in score.measures.values())
                    table.writerow([codec, score.name, f"{score.seconds:.2f}", *values])

    def tables(self) -> list[Table]:
        """The report for the terminal: files, peers, books."""
        books = f", {self.codebooks} codebooks" if self.codebooks < len(self.counts) else ""
        files = _measures_table(f"{self.model}{books}: {len(self.scores.files)} files", "file")
        for file in self.scores.files:
            files.add_row(escape(file.name), *_shown(file.measures))
        files.add_section()
        files.add_row("mean", *_shown(self.scores.means()))
        tables = [files]
        if self.peers:
            peers = _measures_table("beside codecs people know: means", "codec")
            for name, scores in {self.model: self.scores, **self.peers}.items():
                peers.add_row(name, *_shown(scores.means()))
            tables.append(peers)
        codes = Table("codebook", title=f"codes; real-time factor {self.real_time_factor:.3f}")
        for book in range(len(self.counts)):
            codes.add_column(str(book + 1), justify="right")
        codes.add_row("in use", *(f"{share:.0%}" for share in self.usage))
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
    peers: Sequence[Peer] = (),
    progress: Progress = iter,
) -> Report:
    """Scores every sound file under `folder`.

    Args:
        lookahead: frames of the future that each step of live decoding sees; None: offline.
        codebooks: decode the first so many only; all without it.
        peers: codecs to score on the same files.
        progress: wraps the list of files, to show how far along it is.

    Raises:
        AudioError: there is no sound file, a file cannot be read, or none can be judged.
        CodeError: the model has not so many codebooks.
        MissingExtraError: the measures are not installed.
    """
    check_installed()
    if codebooks is not None and not 1 <= codebooks <= codec.num_codebooks:
        raise CodeError(f"{codec.name} has {codec.num_codebooks} codebooks, not {codebooks}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_FILES)
    if not paths:
        raise AudioError(f"there are no sound files (wav, flac, ogg, mp3) in {folder}")
    counts = np.zeros((codec.num_codebooks, codec.codebook_size), np.int64)
    work = sound = 0.0

    def through(samples: Samples) -> Samples:
        nonlocal work, sound
        start = time.perf_counter()
        codes = encode_clip(codec, samples, lookahead)
        decoded = decode_clip(codec, codes[:codebooks], lookahead)
        work += time.perf_counter() - start
        sound += len(samples) / codec.input_rate
        for book, used in zip(counts, codes.cpu().numpy(), strict=True):
            book += np.bincount(used, minlength=codec.codebook_size)
        return resample(decoded.cpu().numpy(), codec.output_rate, codec.input_rate)

    scores = _score(paths, folder, codec.input_rate, through, progress)
    return Report(
        model=codec.name,
        model_hash=codec.hash,
        lookahead=lookahead,
        codebooks=codebooks or codec.num_codebooks,
        scores=scores,
        counts=counts,
        real_time_factor=work / sound,
        peers={
            peer.name: _score(paths, folder, codec.input_rate, peer.through, progress)
            for peer in peers
        },
    )


def _score(
    paths: Sequence[Path],
    folder: Path,
    rate: int,
    through: Callable[[Samples], Samples],
    progress: Progress,
) -> Scores:
    scores = Scores([], {})
    for path in progress(paths):
        name = path.relative_to(folder).as_posix()
        samples, info = read_audio(path, rate)
        decoded = fit_length(through(samples), len(samples))
        try:
            measures = {title: measure(samples, decoded) for title, measure in MEASURES.items()}
            scores.files.append(FileScore(name, info.seconds, measures))
        except AudioError as error:
            scores.skipped[name] = str(error)
    if not scores.files:
        raise AudioError(f"no file in {folder} holds enough speech to judge")
    return scores


def entropy_bits(counts: npt.NDArray[np.int64]) -> float:
    """Entropy, in bits, of a code that occurred `counts[code]` times."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0
