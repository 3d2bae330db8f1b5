"""Implements the command line: thin commands over the library.

Heavy modules are imported inside the commands, so that `--help` and errors in arguments appear at
once.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in typing, which takes a while to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_INTERRUPTED = 130  # exit status after SIGINT, as in shells


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command line; an error becomes one red line and exit status 1.

    Ctrl-C ends it without a word. So it imports all that it needs itself, where that is caught.
    """
    try:
        _run(args)
    except KeyboardInterrupt:  # before a command has begun; typer handles it later
        sys.exit(_INTERRUPTED)


def _run(args: Sequence[str] | None) -> None:
    import io

    from xyt_stream.errors import XYTError, missing_torch

    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # The name of a file may contain characters that the terminal cannot show.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from xyt_stream.cli.app import make_app

        make_app(sys.argv[1:] if args is None else args)(args, prog_name="xyt-stream")
    except ModuleNotFoundError as error:
        missing = missing_torch(error)
        if missing is None:
            raise
        _fail(missing)
    except XYTError as error:
        _fail(error)
    except OSError as error:
        _fail(_plain(error))


def _plain(error: OSError) -> str:
    """The system's reason without its number."""
    if error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def _fail(error: Exception | str) -> NoReturn:
    import typer

    typer.secho(f"Error: {error}", fg="red", err=True)
    sys.exit(1)


def _open_standard_streams() -> None:
    """Opens descriptors 0 to 2 on /dev/null where the caller has closed them.

    Otherwise the next file or socket would become standard output, and be written to.
    """
    import os

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
