"""Defines the commands that connect to a server: mic, play, loopback, talk; and devices."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from xyt_stream.cli.groups import ServerOptions, SoundIn, SoundOut, grouped
from xyt_stream.cli.options import check_distinct
from xyt_stream.cli.terminal import console, errors, say, show
from xyt_stream.standard_streams import is_standard

app = typer.Typer()

T = TypeVar("T")

Room = Annotated[str, typer.Option(help="Name of the room.")]


@app.command()
@grouped
def mic(server: ServerOptions, room: Room = "lobby", *, source: SoundIn) -> None:
    """Send a microphone or a file into a room."""
    from xyt_stream.client.run import run_mic

    say(_run(run_mic(room=room, **vars(server), **vars(source))).line)


@app.command()
@grouped
def play(server: ServerOptions, room: Room = "lobby", *, sink: SoundOut) -> None:
    """Play the audio of a room."""
    from xyt_stream.client.run import run_play

    say(_run(run_play(room=room, **vars(server), **vars(sink))).line)
    sink.report()


@app.command()
@grouped
def loopback(server: ServerOptions, source: SoundIn, sink: SoundOut) -> None:
    """Hear yourself through the codec and the server."""
    _check_files(source, sink)
    from xyt_stream.client.run import run_loopback

    report = _run(run_loopback(**vars(server), **vars(source), **vars(sink)))
    (errors if is_standard(sink.output_file) else console).print(report.table())


@app.command()
@grouped
def talk(
    server: ServerOptions,
    room: Annotated[
        str | None,
        typer.Option(help="Room of the model. Default: the server's own model answers."),
    ] = None,
    *,
    source: SoundIn,
    sink: SoundOut,
    listen: Annotated[
        float, typer.Option(min=0, help="Seconds of silence after the --input file.")
    ] = 5,
) -> None:
    """Talk with a speech model in full duplex."""
    _check_files(source, sink)
    from xyt_stream.client.run import run_talk

    wire = _run(run_talk(room=room, listen=listen, **vars(server), **vars(source), **vars(sink)))
    say(wire.line, beside=sink.output_file)
    sink.report()


@app.command()
def key() -> None:
    """Make a key for an encrypted room."""
    from xyt_stream.protocol.sealing import make_key

    print(make_key())


@app.command()
def devices() -> None:
    """List microphones and loudspeakers."""
    from xyt_stream.client.devices import list_devices

    rows = list_devices()
    if not rows:
        say("no sound devices found; use --input FILE and --output FILE instead")

        return
    table = Table("#", "name", "inputs", "outputs", "default")
    for row in rows:
        table.add_row(*row)
    show(table)


def _check_files(source: SoundIn, sink: SoundOut) -> None:
    if source.input_file is not None and sink.output_file is not None:
        check_distinct(source.input_file, sink.output_file)


def _run(program: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(program)
