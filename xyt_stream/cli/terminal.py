"""What commands tell their user, and the files they read for him."""

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
    """One line as it stands: file names may hold what rich takes for markup."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def progress(what: str) -> Callable[[Iterable[T]], Iterable[T]]:
    """Shows how far a loop is, as long as it runs."""
    from rich.progress import track

    quiet = not console.is_terminal
    return lambda items: track(items, what, console=console, transient=True, disable=quiet)


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """The figures, if a file for them was named."""
    if path:
        path.write_text(json.dumps(figures, indent=2) + "\n")


def read_sound(source: Path, codec: Codec) -> tuple[Samples, SoundInfo]:
    """float32 [samples] at the rate the codec hears, and what the file was."""
    from xyt_stream.audio import read_audio

    samples, info = read_audio(source, codec.input_rate)
    if info.mixed_down:
        say(f"{source}: {info.channels} channels mixed down to mono")
    return samples, info
