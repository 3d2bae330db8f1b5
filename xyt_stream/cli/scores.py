"""Defines the commands eval and train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xyt_stream.cli.groups import NamedModel, grouped
from xyt_stream.cli.options import (
    Device,
    Json,
    Lookahead,
    Offline,
    in_a_folder,
    live_lookahead,
)
from xyt_stream.cli.terminal import console, progress, say, write_json

app = typer.Typer()


@app.command("eval")
@grouped
def evaluate_command(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder with sound files.")
    ],
    offline: Offline = False,
    lookahead: Lookahead = None,
    codebooks: Annotated[
        int | None, typer.Option(min=1, help="Decode only the first so many codebooks.")
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also score Codec2 and Opus, where installed.")
    ] = False,
    json_file: Json = None,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv", dir_okay=False, callback=in_a_folder, help="Write the scores of each file."
        ),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for plots of spectrograms and codebook use."),
    ] = None,
    *,
    model: NamedModel,
) -> None:
    """Score a model on recordings: intelligibility, quality and use of its codes."""
    from xyt_stream.evaluate.baselines import BASELINES
    from xyt_stream.evaluate.report import evaluate

    if plots is not None:
        from xyt_stream.evaluate.plots import draw_codes, draw_spectrograms
    codec = model.load()
    ahead = live_lookahead(offline, lookahead)
    for baseline in BASELINES if peers else ():
        if not baseline.installed:
            say(f"{baseline.name} is left out: install Debian's package {baseline.package}")
    report = evaluate(
        codec,
        folder,
        lookahead=ahead,
        codebooks=codebooks,
        baselines=[each for each in BASELINES if peers and each.installed],
        progress=progress("scoring"),
    )
    console.print(*report.tables(), sep="\n")
    for name, reason in report.scores.skipped.items():
        say(f"{name} was not scored: {reason}")
    write_json(json_file, report.flat())
    if csv_file is not None:
        report.write_csv(csv_file)
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        draw_codes(report.counts, plots / "codes.png")
        for file in report.scores.files:
            picture = plots / f"{file.name.replace('/', '-')}.png"
            draw_spectrograms(codec, folder / file.name, picture, ahead)


@app.command()
def train(
    data: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder with speech files.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for checkpoints; training resumes from the latest there.")
    ],
    valid: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Speech for validation.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Number of steps. Default: the recipe's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    device: Device = "cpu",
) -> None:
    """Train the default model from scratch."""

    from xyt_stream.train.run import train as run_training
    from xyt_stream.train.trainer import Recipe

    recipe = Recipe(seed=seed) if steps is None else Recipe(seed=seed, steps=steps)
    run_training(data, out, valid=valid, recipe=recipe, device=device)
