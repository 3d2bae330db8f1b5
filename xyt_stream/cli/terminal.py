"""Prints to the terminal, shows progress and reads sound files, for all commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from xyt_stream.errors import XYTError
from xyt_stream.part_file import part_file
from xyt_stream.standard_streams import is_standard, source_name, target_name

if TYPE_CHECKING:
    from rich.table import Table

    from xyt_stream.audio import Samples, SoundInfo
    from xyt_stream.streaming.codec import Codec

# Names of files and models, which may look like markup, are printed as they are.
console = Console(markup=False, emoji=False)
errors = Console(stderr=True, markup=False, emoji=False)

T = TypeVar("T")

_NO_LIMIT = 10_000  # columns; more than any table has


def say(line: str, *, beside: Path | None = None) -> None:
    """Prints one line.

    Args:
        beside: the file that the command writes; if it is standard output, the line goes to stderr.
    """
    where = errors if is_standard(beside) else console
    where.print(line, highlight=False, soft_wrap=True)


def show(*tables: Table) -> None:
    """Prints tables one below the other.

    The headings of a table wider than the terminal get one word a line; rich would cut words.
    """
    room = console.options.update_width(_NO_LIMIT)
    for table in tables:
        if console.measure(table, options=room).maximum > console.width:
            for column in table.columns:
                if isinstance(column.header, str):
                    column.header = column.header.replace(" ", "\n")
        console.print(table)


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
    """Writes the figures to `path`, if there is one; "-" is standard output.

    Raises:
        XYTError: the file cannot be written.
    """
    if path is None:
        return
    text = json.dumps(figures, indent=2, allow_nan=False) + "\n"
    try:
        if is_standard(path):
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            with part_file(path) as part:
                part.write_text(text)
    except OSError as error:
        raise XYTError(f"cannot write {target_name(path)}: {error.strerror}") from None


def read_sound(source: Path, codec: Codec) -> tuple[Samples, SoundInfo]:
    """Reads a sound file as float32 [samples] at the codec's input rate, and its properties."""
    from xyt_stream.audio import read_audio

    samples, info = read_audio(source, codec.input_rate)
    report_source(source, info)
    return samples, info


def report_source(source: Path, info: SoundInfo, *, beside: Path | None = None) -> None:
    """Prints how several channels became one, and whether a file was cut short."""
    lines = []
    if info.opposite_phase:
        lines.append("its two channels have opposite phase: one was inverted")
    elif info.mixed_down:
        lines.append(f"{info.channels} channels mixed down to mono")
    if info.missing:
        promised = (info.samples + info.missing) / info.rate
        lines.append(f"cut short: it ends after {info.seconds:.2f} of {promised:.2f} s")
    elif info.unfinished:
        lines.append(f"cut short: it ends after {info.seconds:.2f} s")
    for line in lines:
        say(f"{source_name(source)}: {line}", beside=beside)
