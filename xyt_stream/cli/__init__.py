"""The command line: thin commands over the library. Heavy imports wait until a command needs them,
so that `--help` and wrong arguments are answered at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from xyt_stream.cli import bench, files, live, models, scores, server
from xyt_stream.errors import XYTError

app = typer.Typer(
    help="Speech to 1000 bits a second and back, live.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (files, server, live, models, scores):
    app.add_typer(group.app)
app.add_typer(bench.app, name="bench")


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command line; what goes wrong becomes one red line and exit status 1."""
    try:
        app(args)
    except (XYTError, OSError) as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(1)
