"""Prints to the terminal, shows progress and reads sound files, for all commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from xyt_stream.cli.options import STREAM

if TYPE_CHECKING:
    from xyt_stream.audio import Samples, SoundInfo
    from xyt_stream.streaming.codec import Codec

console = Console()
errors = Console(stderr=True)

T = TypeVar("T")


def say(line: str, *, beside: Path | None = None) -> None:
    """Prints one line without rich's markup, which file names may contain by accident.

    Args:
        beside: the file that the command writes; if it is standard output, the line goes to stderr.
    """
    where = errors if str(beside) == STREAM else console
    where.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def seconds_bar(title: str, seconds: float | None) -> Iterator[Callable[[float], None]]:
    """Shows progress on stderr, if it is a terminal; yields a function that advances by seconds.

    Args:
        seconds: in all; None: unknown.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} s of sound"),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
    with bar:
        task = bar.add_task(title, total=seconds)
        yield lambda done: bar.advance(task, done)


def progress(title: str) -> Callable[[Iterable[T]], Iterable[T]]:
    """Returns a function that shows a loop's progress while it runs, if stdout is a terminal."""
    from rich.progress import track

    quiet = not console.is_terminal
    return lambda items: track(items, title, console=console, transient=True, disable=quiet)


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Writes the figures to `path`, if there is one."""
    if path:
        path.write_text(json.dumps(figures, indent=2) + "\n")


def read_sound(source: Path, codec: Codec) -> tuple[Samples, SoundInfo]:
    """Reads a sound file as float32 [samples] at the codec's input rate, and its properties."""
    from xyt_stream.audio import read_audio

    samples, info = read_audio(source, codec.input_rate)
    report_channels(source, info)
    return samples, info


def report_channels(source: Path, info: SoundInfo, *, beside: Path | None = None) -> None:
    """Prints how several channels became one."""
    if info.opposite_phase:
        line = "its two channels have opposite phase: one was inverted"
    elif info.mixed_down:
        line = f"{info.channels} channels mixed down to mono"
    else:
        return
    say(f"{source}: {line}", beside=beside)
