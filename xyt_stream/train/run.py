"""From a folder of speech to a checkpoint: the loop around the trainer."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from xyt_stream.model import checkpoint
from xyt_stream.model.config import mini
from xyt_stream.train.data import Crops
from xyt_stream.train.trainer import Trainer
from xyt_stream.train.validate import Validation

SAVE_EVERY = 100  # steps


def train(
    data: Path,
    out: Path,
    *,
    valid: Path | None = None,
    steps: int = 3000,
    batch: int = 16,
    frames: int = 25,
    quantizer_start: int = 400,
    seed: int = 0,
    device: str = "cpu",
) -> Path:
    """Train the default model; stopping it and starting it again goes on where it was.

    Writes `state.pt` (to go on from), `log.jsonl` (a line every 100 steps) and, with the same
    rhythm, `model.safetensors` (to use: `--model OUT/model.safetensors`).

    Args:
        data: folder of 16 kHz mono speech, searched through.
        out: folder for what is written.
        valid: folder of speech to score, never trained on.
        batch, frames: crops a step and code frames in each.
        quantizer_start: steps before the codebooks are started.

    Returns:
        The path of the model.
    """
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    crops = Crops(data, frames, seed)
    console.print(f"{crops.hours:.1f} hours of speech in {data}")
    validation = Validation(valid) if valid else None
    trainer = Trainer(
        mini(),
        crops,
        batch=batch,
        steps=steps,
        quantizer_start=quantizer_start,
        seed=seed,
        device=torch.device(device),
    )
    state, model = out / "state.pt", out / "model.safetensors"
    if state.exists():
        trainer.resume(state)
        console.print(f"going on after step {trainer.step_number}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("training", total=steps, completed=trainer.step_number)
        while trainer.step_number < steps:
            started = time.perf_counter()
            losses = trainer.step()
            seconds = time.perf_counter() - started
            text = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            progress.update(bar, completed=trainer.step_number, description=text)
            if trainer.step_number % SAVE_EVERY == 0 or trainer.step_number == steps:
                record = {"step": trainer.step_number, **losses, "step_seconds": seconds}
                trainer.save(state)
                checkpoint.save(trainer.shipped(), model, torch.float16)
                if validation and trainer.books.started:
                    record |= validation.score(trainer.shipped(), trainer.device)
                with (out / "log.jsonl").open("a") as log:
                    log.write(json.dumps(record) + "\n")
                progress.console.print(json.dumps(record))
    return model
