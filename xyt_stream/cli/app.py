"""Puts the command line together: each group of commands has a file of its own."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Annotated

import typer

from xyt_stream import __version__

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


def make_app(args: Sequence[str]) -> typer.Typer:
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
