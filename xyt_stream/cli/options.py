"""What several commands take, each said once."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from xyt_stream.errors import XYTError

DEFAULT_PORT = 8765


def in_a_folder(path: Path | None) -> Path | None:
    """A file to write when all work is done, which must not fail for such a reason."""
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
Revision = Annotated[str | None, typer.Option(help="Of a hub name: a branch, a tag or a commit.")]
Device = Annotated[str, typer.Option(help="Where the model runs: cpu, cuda, cuda:1 ...")]
Lookahead = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Frames of the future (80 ms each) that each step of a live stream waits for and "
        "sees: better sound from a bidirectional model, later; 0 without this option.",
    ),
]
Lookaheads = Annotated[
    list[int] | None,
    typer.Option("--lookahead", min=0, help="Frames; may be given again. Else a range of them."),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="The whole file at once, not as a live stream.")
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        dir_okay=False,
        callback=in_a_folder,
        help="Write the figures to this file, too.",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(dir_okay=False, callback=in_a_folder, help="Draw the figures: a png, svg or pdf."),
]
Token = Annotated[
    str | None, typer.Option(envvar="XYT_TOKEN", help="The word the server asks for, if it does.")
]
Source = Annotated[Path, typer.Argument(help="wav, flac, ogg or mp3; any rate, mono or not.")]


class Weights(str, Enum):
    """What torch calls the types that a live model's weights may have."""

    float32 = "float32"
    bfloat16 = "bfloat16"


def live_lookahead(offline: bool, lookahead: int | None) -> int | None:
    """What a live stream waits for; None: offline."""
    if offline and lookahead is not None:
        raise typer.BadParameter("--offline sees all of the future: leave --lookahead out")
    return None if offline else lookahead or 0
