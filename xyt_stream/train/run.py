"""From a folder of speech to a checkpoint: the loop around the trainer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from xyt_stream.model import checkpoint
from xyt_stream.model.config import mini
from xyt_stream.train import curves
from xyt_stream.train.data import Crops
from xyt_stream.train.text import Transcripts
from xyt_stream.train.trainer import Recipe, Trainer
from xyt_stream.train.validate import Validation

SAVE_EVERY = 100  # steps
SCORE_EVERY = 500  # steps: scores cost as much as some twenty steps
CROP_FRAMES = 25  # 2 s, a little more than attention's context
CROPS = 16  # in a step
TEXTS = 4  # clips with text in a step


def train(
    data: Path,
    out: Path,
    *,
    valid: Path | None = None,
    recipe: Recipe | None = None,
    device: str = "cpu",
) -> Path:
    """Train the default model; stopping it and starting it again goes on where it was.

    Writes to `out` `state.pt` (to go on from), `log.jsonl` and `curves.png` every 100 steps; every
    500 also scores, `model.safetensors` (to use: `--model OUT/model.safetensors`) and
    `sample.flac`, the first scored clip as it is decoded.

    Args:
        data: folder of speech, searched through; a metadata.csv (name|sentence) in it
            gives the text loss its text.
        out: folder for what is written.
        valid: folder of speech to score, never trained on.

    Returns:
        The path of the model.
    """
    recipe = recipe or Recipe()
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    crops = Crops(data, frames=CROP_FRAMES, size=CROPS, seed=recipe.seed)
    has_text = recipe.text > 0 and any(data.rglob("metadata.csv"))
    transcripts = Transcripts(data, size=TEXTS, seed=recipe.seed) if has_text else None
    text = f", {len(transcripts.clips)} clips with text" if transcripts else ""
    console.print(f"{crops.hours:.1f} hours of speech in {data}{text}")
    validation = Validation(valid) if valid else None
    trainer = Trainer(mini(), recipe, crops, transcripts, torch.device(device))
    state, model = out / "state.pt", out / "model.safetensors"
    if state.exists():
        trainer.resume(state)
        console.print(f"going on after step {trainer.step_number}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("training", total=recipe.steps, completed=trainer.step_number)
        while trainer.step_number < recipe.steps:
            started = time.perf_counter()
            losses = trainer.step()
            seconds = time.perf_counter() - started
            step = trainer.step_number
            described = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            progress.update(bar, completed=step, description=described)
            last = step == recipe.steps
            if last or step % SAVE_EVERY == 0:
                trainer.save(state)
                record: dict[str, Any] = {"step": step, **losses, "step_seconds": seconds}
                if last or step % SCORE_EVERY == 0:
                    shipped = trainer.shipped()
                    checkpoint.save(shipped, model, torch.float16)
                    if validation and trainer.books.started:
                        record |= validation.score(shipped, trainer.device, out)
                    if transcripts and trainer.books.started:
                        record["text_error"] = trainer.text_error()
                with (out / "log.jsonl").open("a") as log:
                    log.write(json.dumps(record) + "\n")
                curves.draw(out / "log.jsonl", out / "curves.png")
                progress.console.print(record)
    return model
