"""Clients of a server: sound from here to there, and back."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from xyt_stream.cli.groups import ServerOptions, SoundIn, SoundOut, grouped
from xyt_stream.cli.terminal import console, say

app = typer.Typer()

T = TypeVar("T")

Room = Annotated[str, typer.Option(help="The room to meet in.")]


@app.command()
@grouped
def mic(server: ServerOptions, room: Room = "lobby", *, source: SoundIn) -> None:
    """Speak into a room."""
    from xyt_stream.client.run import run_mic

    _run(run_mic(room=room, **vars(server), **vars(source)))


@app.command()
@grouped
def play(server: ServerOptions, room: Room = "lobby", *, sink: SoundOut) -> None:
    """Hear what is spoken in a room."""
    from xyt_stream.client.run import run_play

    _run(run_play(room=room, **vars(server), **vars(sink)))
    sink.tell()


@app.command()
@grouped
def loopback(server: ServerOptions, source: SoundIn, sink: SoundOut) -> None:
    """Hear yourself through the server's codec."""
    from xyt_stream.client.run import run_loopback

    report = _run(run_loopback(**vars(server), **vars(source), **vars(sink)))
    console.print(report.table())


@app.command()
@grouped
def talk(
    server: ServerOptions,
    room: Annotated[
        str | None,
        typer.Option(help="Where a model waits, or will; else the server's own model answers."),
    ] = None,
    *,
    source: SoundIn,
    sink: SoundOut,
    listen: Annotated[
        float, typer.Option(min=0, help="Seconds of silence after the --input file.")
    ] = 5,
) -> None:
    """Talk with a speech model, both at once."""
    from xyt_stream.client.run import run_talk

    _run(run_talk(room=room, listen=listen, **vars(server), **vars(source), **vars(sink)))
    sink.tell()


@app.command()
def devices() -> None:
    """List microphones and loudspeakers."""
    from xyt_stream.client.devices import list_devices

    rows = list_devices()
    if not rows:
        say("there are no sound devices here; --input FILE and --output FILE do without")
        return
    table = Table("#", "name", "inputs", "outputs", "default")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def _run(program: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(program)
