"""Defines the commands eval, train and sharpen."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

import typer

from xyt_stream.cli.groups import NamedModel, grouped
from xyt_stream.cli.options import (
    Device,
    Json,
    Lookahead,
    ModelArgument,
    Offline,
    WeightsTarget,
    for_figures,
    live_lookahead,
    one_thread,
)
from xyt_stream.cli.terminal import progress, say, show, write_json
from xyt_stream.errors import AudioError
from xyt_stream.model import hub

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
    lyra: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Also score Lyra, whose .tflite files lie here."
        ),
    ] = None,
    mos: Annotated[
        bool, typer.Option("--mos", help="Also predict mean opinion scores (distillmos).")
    ] = False,
    wer: Annotated[
        str | None,
        typer.Option(help="Also count word errors by this Whisper: a folder or hub name."),
    ] = None,
    json_file: Json = None,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv", dir_okay=False, callback=for_figures, help="Write the scores of each file."
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
    ahead = live_lookahead(offline, lookahead)
    from xyt_stream.audio import find_clips

    find_clips(folder)
    model.check(ahead)
    from xyt_stream.evaluate.baselines import BASELINES
    from xyt_stream.evaluate.lyra import lyra as open_lyra
    from xyt_stream.evaluate.report import evaluate
    from xyt_stream.evaluate.words import Recogniser

    if plots is not None:
        from xyt_stream.evaluate.plots import draw_codes, spectrogram_writer
    baselines = [] if lyra is None else [open_lyra(lyra)]
    codec = model.load()
    if ahead is not None:
        one_thread()
    for baseline in BASELINES if peers else ():
        if baseline.installed:
            baselines.append(baseline)
        else:
            say(f"{baseline.name} is left out: install Debian's package {baseline.package}")
    report = evaluate(
        codec,
        folder,
        lookahead=ahead,
        codebooks=codebooks,
        baselines=baselines,
        opinions=mos,
        recogniser=Recogniser(wer) if wer is not None else None,
        on_decoded=spectrogram_writer(plots, codec.name) if plots is not None else None,
        progress=progress("scoring"),
    )
    show(*report.tables())
    for name, reason in report.scores.skipped.items():
        say(f"{name} was not scored: {reason}")
    write_json(json_file, report.flat())
    if csv_file is not None:
        report.write_csv(csv_file)
    if plots is not None:
        draw_codes(report.counts, plots / "codes.png")


@app.command()
def train(
    data: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder with speech files.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for checkpoints; training resumes from the latest there.")
    ],
    init: Annotated[
        str | None, typer.Option(help="Model to start from, such as mini. Default: from scratch.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of steps.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Duration, instead of --steps.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Factor of the learning rates. Default: 1, or 0.3 with --init."),
    ] = None,
    keep_codes: Annotated[
        bool, typer.Option("--keep-codes", help="Train only the decoder of --init.")
    ] = False,
    teacher: Annotated[
        str | None,
        typer.Option(help="Whisper whose features the codes predict: folder or hub name."),
    ] = None,
    seldom: Annotated[
        list[str] | None,
        typer.Option(help="Top folder of the data to draw a quarter as often; repeatable."),
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Speech for validation.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for packed speech. Default: out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    device: Device = "cpu",
) -> None:
    """Train the default model, from scratch or from another model."""
    from xyt_stream.audio import find_clips
    from xyt_stream.train.recipe import recipe

    chosen = recipe(
        steps=steps,
        minutes=minutes,
        rate=rate,
        trained_before=init is not None,
        keep_codes=keep_codes,
        seed=seed,
    )
    hub.check(init)
    for folder in (data, valid):
        if folder is not None:
            find_clips(folder)
    from xyt_stream.train.run import train as run_training

    run_training(
        data,
        out,
        chosen,
        init=init,
        teacher=teacher,
        seldom=seldom or (),
        valid=valid,
        cache=cache,
        device=device,
    )


@app.command()
def sharpen(
    model: ModelArgument,
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder with speech files.")
    ],
    target: WeightsTarget,
    clips: Annotated[int, typer.Option(min=1, help="Number of files to measure.")] = 200,
) -> None:
    """Sharpen a trained decoder, once: its codes stay as they are.

    Training evens spectra out. This widens the range of the magnitudes that the decoder makes.
    """
    hub.check(model)
    from xyt_stream.audio import find_clips

    paths = find_clips(folder)
    chosen = random.Random(0).sample(paths, min(clips, len(paths)))
    from xyt_stream.train.corpus import load_clips
    from xyt_stream.train.sharpen import sharpen as sharpen_decoder

    def skip(path: Path, error: AudioError) -> None:
        say(f"{path.relative_to(folder)} is left out: {error}")

    measured = load_clips(progress("measuring")(chosen), Path, skip)
    sharpen_decoder(hub.find(model), (clip for _, clip in measured), target)
    say(f"{target}: {target.stat().st_size / 1e6:.0f} MB")
