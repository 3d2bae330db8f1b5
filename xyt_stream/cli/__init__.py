"""The command line: thin commands over the library. Heavy imports wait until a command needs them,
so that `--help` and wrong arguments are answered at once.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from xyt_stream import __version__
from xyt_stream.cli import bench, files, live, models, scores, server
from xyt_stream.errors import XYTError

_INTERRUPTED = 130  # what shells call it

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (files, server, live, models, scores):
    app.add_typer(group.app)
app.add_typer(bench.app, name="bench")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"xyt-stream {__version__}")
        raise typer.Exit


@app.callback(help="Speech to 1000 bits a second and back, live.")
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Which this is.")
    ] = False,
) -> None:
    pass


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command line; what goes wrong becomes one red line and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        # A file's name may hold what the terminal cannot show.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(args, prog_name="xyt-stream")
    except KeyboardInterrupt:  # before a command has begun; later it is typer's
        sys.exit(_INTERRUPTED)
    except (XYTError, OSError) as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(1)
