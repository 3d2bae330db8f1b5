"""Implements the command line: thin commands over the library.

Heavy modules are imported inside the commands, so that `--help` and errors in arguments appear at
once.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from xyt_stream import __version__
from xyt_stream.errors import XYTError, missing_torch

_INTERRUPTED = 130  # exit status after SIGINT, as in shells

# Modules of commands.
_GROUPS = ("files", "server", "cluster", "live", "models", "scores", "export")


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"xyt-stream {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command line; an error becomes one red line and exit status 1."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # The name of a file may contain characters that the terminal cannot show.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _app(sys.argv[1:] if args is None else args)(args, prog_name="xyt-stream")
    except KeyboardInterrupt:  # before a command has begun; typer handles it later
        sys.exit(_INTERRUPTED)
    except ModuleNotFoundError as error:
        missing = missing_torch(error)
        if missing is None:
            raise
        _fail(missing)
    except (XYTError, OSError) as error:
        _fail(error)


def _app(args: Sequence[str]) -> typer.Typer:
    """All commands; serve alone where that is asked for, because a relay must start at once."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        callback=_options,
        help="Speech to 1000 bits a second and back, live.",
    )
    serves = bool(args) and args[0] == "serve"
    for name in ("server",) if serves else _GROUPS:
        app.add_typer(importlib.import_module(f"xyt_stream.cli.{name}").app)
    if not serves:
        app.add_typer(importlib.import_module("xyt_stream.cli.bench").app, name="bench")
    return app


def _fail(error: Exception) -> NoReturn:
    typer.secho(f"Error: {error}", fg="red", err=True)
    sys.exit(1)


def _open_standard_streams() -> None:
    """Opens descriptors 0 to 2 on /dev/null where the caller has closed them.

    Otherwise the next file or socket would become standard output, and be written to.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for good
