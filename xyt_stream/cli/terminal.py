"""Prints to the terminal, shows progress and reads sound files, for all commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

if TYPE_CHECKING:
    from xyt_stream.audio import Samples, SoundInfo
    from xyt_stream.streaming.codec import Codec

console = Console()

T = TypeVar("T")


def say(line: str) -> None:
    """Prints one line without rich's markup, which file names may contain by accident."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


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
    if info.mixed_down:
        say(f"{source}: {info.channels} channels mixed down to mono")
    return samples, info
