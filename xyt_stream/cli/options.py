"""Defines the options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from xyt_stream.errors import XYTError

DEFAULT_PORT = 8765


def in_a_folder(path: Path | None) -> Path | None:
    """Checks before the work begins that the folder of a file to write exists."""
    if path is not None and not path.parent.is_dir():
        raise XYTError(f"cannot write {path}: there is no such folder")
    return path


MODEL_HELP = (
    "A hub name, a folder, or a .safetensors, .ckpt or .bin file; 'mini' is inside the package."
)
Model = Annotated[str | None, typer.Option(help=MODEL_HELP)]
ModelArgument = Annotated[str, typer.Argument(help=MODEL_HELP)]
Config = Annotated[
    Path | None,
    typer.Option(help="The .yaml or config.json of published weights, if not beside them."),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub repository.")]
Device = Annotated[str, typer.Option(help="Device of the model: cpu, cuda, cuda:1 ...")]
Lookahead = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Future frames (80 ms each) that each step of a live stream waits for. More give a "
        "bidirectional model better sound at a longer delay. Default: 0.",
    ),
]
Lookaheads = Annotated[
    list[int] | None,
    typer.Option(
        "--lookahead", min=0, help="Frames; may be repeated. Default: several values are measured."
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Process the whole file at once, not as a live stream.")
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        dir_okay=False,
        callback=in_a_folder,
        help="Also write the figures to this file.",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(dir_okay=False, callback=in_a_folder, help="Draw the figures: a png, svg or pdf."),
]
Token = Annotated[
    str | None, typer.Option(envvar="XYT_TOKEN", help="Access token, if the server requires one.")
]
Source = Annotated[
    Path, typer.Argument(help="The wav, flac, ogg or mp3 to read; any rate, any channels.")
]


class Weights(str, Enum):
    """Torch's names of the dtypes that a live model's weights may have."""

    float32 = "float32"
    bfloat16 = "bfloat16"


def live_lookahead(offline: bool, lookahead: int | None) -> int | None:
    """The lookahead of a live stream in frames; None: offline."""
    if offline and lookahead is not None:
        raise typer.BadParameter("--offline uses the whole file: leave --lookahead out")

    return None if offline else lookahead or 0
