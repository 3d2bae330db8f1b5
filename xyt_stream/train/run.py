"""Runs a training: prepares the data, trains, saves and scores."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    track,
)

from xyt_stream.audio import FRAME_SECONDS, INPUT_RATE
from xyt_stream.errors import AudioError, ModelError
from xyt_stream.model import checkpoint
from xyt_stream.model.config import mini
from xyt_stream.model.hub import find
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.train import curves
from xyt_stream.train.corpus import open_corpus
from xyt_stream.train.data import Crops
from xyt_stream.train.recipe import Recipe
from xyt_stream.train.teacher import open_features, teach
from xyt_stream.train.text import Transcripts
from xyt_stream.train.trainer import Data, Trainer
from xyt_stream.train.validate import Validation

SAVE_SECONDS = 180.0  # between states
SCORE_SECONDS = 1_200.0  # between scores
HEARD = "hours of sound heard"

T = TypeVar("T")


def train(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    init: str | None = None,
    teacher: str | None = None,
    seldom: Collection[str] = (),
    valid: Path | None = None,
    cache: Path | None = None,
    device: str = "cpu",
) -> Path:
    """Trains a model; a stopped training resumes when it is started again.

    Writes to `out` every three minutes: state.pt (to resume), model.safetensors (to use),
    log.jsonl and curves.png. Every twenty minutes it adds scores and sample.flac, the first scored
    clip decoded. codes.pt is the state in which the codes became final.

    Args:
        data: folder of speech; docs/training.md describes what else it may contain.
        out: folder for the results.
        init: the model to start from; None: from scratch.
        teacher: a Whisper in ctranslate2's format, or its hub name; None: no teacher.
        seldom: top folders of the data that are drawn a quarter as often.
        valid: folder of speech for scores, never trained on.
        cache: folder for packed speech and the teacher's features; None: a folder in `out`.

    Returns:
        The path of the model.

    Raises:
        AudioError: no speech can be read.
        ModelError: `init` cannot be trained, or the training cannot go on from `out`.
    """
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    cache = cache or out / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    skip = partial(_skip, console)
    corpus = open_corpus(data, cache, _tracked("packing", console), skip)
    if teacher is not None:
        teach(corpus, cache, teacher, device, _tracked("teacher", console))
    features = open_features(corpus, cache, teacher) if teacher is not None else None
    crops = Crops(corpus, features, seldom=seldom, seed=recipe.seed)
    transcripts = _transcripts(data, recipe)
    text = f", {len(transcripts.clips)} clips with text" if transcripts else ""
    console.print(f"{_duration(corpus.seconds)} of speech in {data}{text}")
    console.print("share of crops: " + ", ".join(_shares(crops)))
    validation = Validation(valid, skip) if valid else None
    trainer = Trainer(
        _network(init),
        recipe,
        Data(crops, transcripts),
        torch.device(device),
        trained_before=init is not None,
    )
    if (out / "state.pt").exists():
        trainer.resume(out / "state.pt")
        if trainer.progress >= 1:
            console.print(
                f"{out / 'model.safetensors'} is trained to the end (step {trainer.step_number}): "
                "give more --steps or --minutes to go on, or another --out to train anew",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            return out / "model.safetensors"
        console.print(f"going on after step {trainer.step_number}")
    _Run(trainer, validation, out, console).go()
    return out / "model.safetensors"


class _Run:
    """The loop: steps, progress, and when results are written."""

    def __init__(
        self, trainer: Trainer, validation: Validation | None, out: Path, console: Console
    ) -> None:
        self.trainer, self.validation = trainer, validation
        self.out, self.console = out, console
        self.saved = self.scored = time.monotonic()

    def go(self) -> None:
        trainer = self.trainer
        columns = (
            *(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()),
            *(TextColumn("passed"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()),
        )
        losses: dict[str, float] = {}
        with Progress(*columns, console=self.console, speed_estimate_period=600) as progress:
            bar = progress.add_task("training", total=1.0)
            while trainer.progress < 1:
                frozen = trainer.frozen
                started = time.perf_counter()
                losses = trainer.step()
                seconds = time.perf_counter() - started
                heard = _duration(trainer.frames * FRAME_SECONDS)
                described = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
                progress.update(
                    bar,
                    completed=trainer.progress,
                    description=f"step {trainer.step_number}, {seconds:.1f} s, heard {heard}: "
                    f"{described}",
                )
                if trainer.frozen and not frozen:
                    self.write(losses, seconds)
                    shutil.copy(self.out / "state.pt", self.out / "codes.pt")
                elif time.monotonic() - self.saved > SAVE_SECONDS or trainer.progress >= 1:
                    self.write(losses, seconds)

    def write(self, losses: dict[str, float], seconds: float) -> None:
        """Writes state, model, log and curves, and scores if they are due."""
        trainer = self.trainer
        self.saved = time.monotonic()
        trainer.save(self.out / "state.pt")
        shipped = trainer.shipped()
        checkpoint.save(shipped, self.out / "model.safetensors", torch.float16)
        record: dict[str, Any] = {"step": trainer.step_number, **losses}
        record |= {"step_seconds": seconds, HEARD: trainer.frames * FRAME_SECONDS / 3600}
        due = self.saved - self.scored > SCORE_SECONDS or trainer.progress >= 1
        if due and trainer.codebooks.started:
            self.scored = self.saved
            if self.validation is not None:
                record |= self.validation.score(shipped, trainer.device, self.out)
            text_error = None if trainer.frozen else trainer.heads.text_error()
            if text_error is not None:
                record["text_error"] = text_error
        with (self.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        curves.draw(self.out / "log.jsonl", self.out / "curves.png")
        figures = {
            name.replace("_", " "): value for name, value in record.items() if name != "step"
        }
        text = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        model = self.out / "model.safetensors"
        self.console.print(
            f"step {trainer.step_number}: {model} is written; {text}", markup=False, highlight=False
        )


def _skip(console: Console, path: Path, error: AudioError) -> None:
    console.print(f"{path} is left out: {error}", markup=False, highlight=False, soft_wrap=True)


def _network(init: str | None) -> Tokenizer:
    if init is not None:
        network = checkpoint.load(find(init)).network
        if (rate := network.config.output_rate) != INPUT_RATE:
            raise ModelError(
                f"{init} gives sound of {rate} Hz: only models of {INPUT_RATE} Hz are trained here"
            )
        return network
    return Tokenizer(mini())


def _transcripts(data: Path, recipe: Recipe) -> Transcripts | None:
    if recipe.text > 0 and any(data.rglob("metadata.csv")):
        return Transcripts(data, size=recipe.texts, seed=recipe.seed)
    return None


def _tracked(what: str, console: Console) -> Callable[[Sequence[T]], Iterable[T]]:
    def wrapped(items: Sequence[T]) -> Iterator[T]:
        yield from track(items, what, console=console)

    return wrapped


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 360 else f"{seconds:.0f} seconds"


def _shares(crops: Crops) -> list[str]:
    shares = sorted(crops.shares.items(), key=lambda item: -item[1])
    return [f"{source or 'top folder'} {share:.0%}" for source, share in shares]
