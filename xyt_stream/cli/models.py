"""Defines the commands about models: info and convert."""

from __future__ import annotations

import typer
from rich.table import Column, Table

from xyt_stream.cli.groups import ModelOptions, grouped
from xyt_stream.cli.options import Config, Json, Lookaheads, ModelArgument, Revision, WeightsTarget
from xyt_stream.cli.terminal import say, show, write_json
from xyt_stream.model import hub

app = typer.Typer()


@app.command()
@grouped
def info(lookahead: Lookaheads = None, json_file: Json = None, *, model: ModelOptions) -> None:
    """Show a model: its parts, rates, and a live stream's delay and memory at each lookahead."""
    model.check(max(lookahead or [0]))
    from xyt_stream.streaming.summary import summarize

    codec = model.load()
    summary = summarize(codec.network.config, lookahead)
    table = Table(Column(), Column(overflow="fold"), title=codec.name, show_header=False)
    for name, value in {
        "hash": codec.hash,
        "input": f"{summary.input_rate} Hz",
        "output": f"{summary.output_rate} Hz",
        "frame": f"{summary.frame_ms:g} ms",
        "codes": f"{summary.codebooks} of {summary.codebook_size} values per frame",
        "bits a second": f"{summary.bits_per_second:g}",
        "attention": f"{'causal' if summary.causal else 'bidirectional'}, "
        f"{summary.context_seconds:g} s",
    }.items():
        table.add_row(name, value)
    parts = Table("part", Column("parameters", justify="right"))
    for name, count in summary.parts.items():
        parts.add_row(name, f"{count:,}")
    parts.add_section()
    parts.add_row("all", f"{summary.parameters:,}")
    live = Table(
        *(
            "lookahead, frames",
            "delay, ms",
            "encoder delay, ms",
            "decoder delay, ms",
            "memory, MB",
            "encoder memory, MB",
            "decoder memory, MB",
        ),
        title="one live stream",
    )
    for row in summary.live:
        delays = (row.delay_ms, row.encoder_delay_ms, row.decoder_delay_ms)
        sizes = (row.state_bytes, row.encoder_state_bytes, row.decoder_state_bytes)
        cells = (*(f"{ms:g}" for ms in delays), *(f"{size / 1e6:.1f}" for size in sizes))
        live.add_row(str(row.lookahead), *cells)
    show(table, parts, live)
    write_json(json_file, {"name": codec.name, "hash": codec.hash, **summary.flat()})


@app.command()
def convert(
    model: ModelArgument,
    target: WeightsTarget,
    config: Config = None,
    revision: Revision = None,
) -> None:
    """Convert any checkpoint to one .safetensors file that contains its config.

    The file loads much faster. It keeps the model's hash and gives the same codes and sound.
    """
    hub.check(model, config=config, revision=revision)
    from xyt_stream.model import checkpoint

    checkpoint.convert(hub.find(model, config=config, revision=revision), target)
    say(f"{target}: {target.stat().st_size / 1e6:.0f} MB")
