"""Defines the commands `xyt-stream bench`: speed, and ablations of the codec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xyt_stream.cli import bench_load
from xyt_stream.cli.groups import ModelOptions, NamedModel, grouped
from xyt_stream.cli.options import (
    Device,
    Json,
    Lookahead,
    Lookaheads,
    Plot,
    Source,
    Weights,
    check_source,
    one_thread,
)
from xyt_stream.cli.terminal import progress, read_sound, say, show, write_json

app = typer.Typer(help="Measure speed and fidelity on this machine.", no_args_is_help=True)
app.add_typer(bench_load.app)


@app.command("stream")
@grouped
def bench_stream(
    minutes: Annotated[float, typer.Option(min=0.5, help="Minutes of sound to stream.")] = 10,
    lookahead: Lookahead = None,
    json_file: Json = None,
    *,
    model: ModelOptions,
) -> None:
    """One stream's time per step and memory, early and after minutes of sound."""
    model.check(lookahead)
    from xyt_stream.bench.stream import measure

    one_thread()
    result = measure(model.load(), minutes=minutes, lookahead=lookahead or 0)
    show(result.table())
    write_json(json_file, result.flat())


@app.command("codec")
@grouped
def bench_codec(
    streams: Annotated[
        str,
        typer.Option(
            callback=lambda text: _numbers(text) and text,
            help="Streams in a batch; several numbers with commas.",
        ),
    ] = "1",
    frames: Annotated[int, typer.Option(min=10, help="Steps to time, after warm-up.")] = 200,
    threads: Annotated[int, typer.Option(min=1, help="Threads that torch may use.")] = 1,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also the published size, live and without a cache: gigabytes, minutes."
        ),
    ] = False,
    lookahead: Lookahead = None,
    plot: Plot = None,
    json_file: Json = None,
    *,
    model: ModelOptions,
) -> None:
    """Time per step, memory and matrix products, beside Mimi on the same machine."""
    model.check(lookahead)
    from xyt_stream.bench.codec import compare

    if plot:
        from xyt_stream.bench.plot import draw_steps
    result = compare(
        model.load(),
        streams=_numbers(streams),
        frames=frames,
        lookahead=lookahead or 0,
        full=full,
        threads=threads,
    )
    show(*result.tables())
    for note in result.notes:
        say(note)
    write_json(json_file, result.flat())
    if plot:
        draw_steps(result, plot)


@app.command("lookahead")
@grouped
def bench_lookahead(
    file: Source,
    lookahead: Lookaheads = None,
    plot: Plot = None,
    json_file: Json = None,
    *,
    model: NamedModel,
) -> None:
    """Fidelity against latency, by lookahead.

    For each lookahead: the delay; the share of live codes equal to offline, by codebook; the SNR of
    live against offline sound, both decoded from the offline codes; time per step.
    """
    check_source(file)
    model.check(max(lookahead or [0]))
    from xyt_stream.evaluate.lookahead import measure
    from xyt_stream.streaming.summary import default_lookaheads

    if plot:
        from xyt_stream.evaluate.plots import draw_lookahead
    one_thread()
    codec = model.load()
    samples, _ = read_sound(file, codec)
    result = measure(
        codec,
        samples,
        lookahead or default_lookaheads(codec.network.config),
        progress=progress("streaming"),
    )
    show(*result.tables())
    write_json(json_file, result.flat())
    if plot:
        draw_lookahead(result, plot)


@app.command("offline")
def bench_offline(
    seconds: Annotated[float, typer.Option(min=0.1, max=30, help="Seconds of sound to code.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs, after warm-up.")] = 3,
    device: Device = "cpu",
    json_file: Json = None,
) -> None:
    """Offline coding at the published size, beside the published algorithm.

    Weights are random. The published algorithm pads every clip to 30 s, computes attention
    explicitly and makes a full mask in every layer.
    """
    from xyt_stream.evaluate.offline import compare, random_network
    from xyt_stream.model.config import published
    from xyt_stream.streaming.codec import check_device

    network = random_network(published("XY-Tokenizer", 16_000), check_device(device))
    result = compare(network, seconds=seconds, repeats=repeats)
    show(result.table())
    say(result.note)
    write_json(json_file, result.flat())


@app.command("precision")
@grouped
def bench_precision(file: Source, json_file: Json = None, *, model: NamedModel) -> None:
    """Codes, sound and time in half precision against float32.

    In half precision are the stacks alone, or the weights too.
    """
    check_source(file)
    model.check()
    from xyt_stream.evaluate.precision import measure

    codec = model.load()
    samples, _ = read_sound(file, codec)
    result = measure(codec, model.load(Weights.bfloat16), samples)
    show(result.table())
    write_json(json_file, result.flat())


@app.command("text")
@grouped
def bench_text(
    data: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Speech with a metadata.csv.")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each recognizer.")] = 1500,
    json_file: Json = None,
    *,
    model: NamedModel,
) -> None:
    """Text recognized from codes alone: character error rate by number of codebooks."""
    model.check()
    from xyt_stream.evaluate.text import measure

    result = measure(model.load(), data, steps=steps)
    show(result.table())
    write_json(json_file, result.flat())


def _numbers(text: str) -> list[int]:
    """Parses "1,8,32"; every number is at least 1."""
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise typer.BadParameter(f"{text!r} is not a list of numbers like 1,8,32")
    return numbers
