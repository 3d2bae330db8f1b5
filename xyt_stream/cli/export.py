"""Defines the command export, which writes a model that runs without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xyt_stream.cli.options import Config, ModelArgument, Revision, in_a_folder
from xyt_stream.cli.terminal import say

app = typer.Typer()


@app.command()
def export(
    model: ModelArgument,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", file_okay=False, callback=in_a_folder, help="The folder to write."
        ),
    ],
    config: Config = None,
    revision: Revision = None,
    int8_decoder: Annotated[
        bool,
        typer.Option(
            "--int8-decoder",
            help="Give the decoder weights of eight bits: faster, nearly the same sound.",
        ),
    ] = False,
) -> None:
    """Export a causal model as two ONNX graphs, which encode and decode without torch.

    The folder gets encoder.onnx, decoder.onnx, the weights that both point into, and model.json.
    """
    from xyt_stream.export import export
    from xyt_stream.model import hub

    source = hub.find(model, config=config, revision=revision)
    manifest = export(source, folder, int8_decoder=int8_decoder)
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    say(f"{folder}: {manifest.name}, {size / 1e6:.0f} MB")
