"""Shows one line in the terminal while audio runs: time, level, jitter buffer."""

from __future__ import annotations

from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from xyt_stream.audio import FULL_SCALE, Pcm16
from xyt_stream.client.jitter import JitterBuffer

_BARS = " ▁▂▃▄▅▆▇█"
_QUIETEST = -60.0  # dB of full scale


class Meters:
    """A line on stderr that updates itself; nothing if stderr is not a terminal.

    Args:
        title: name of the activity.
        seconds: expected duration; None: unknown.
    """

    def __init__(self, title: str, seconds: float | None) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("level {task.fields[level]}"),
            TextColumn("{task.fields[jitter]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=seconds, level=" ", jitter="")

    def __enter__(self) -> Meters:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def sound(self, samples: Pcm16, rate: int) -> None:
        """Advances the time by int16 [samples] at `rate` Hz, and shows their level."""
        self._progress.update(self._task, advance=len(samples) / rate, level=level_bar(samples))

    def notice(self, text: str) -> None:
        """Prints a line above the meters."""
        self._progress.console.print(text, highlight=False)

    def note(self, text: str) -> None:
        """Prints a line, unless it is empty."""
        if text:
            self.notice(text)

    def jitter(self, buffer: JitterBuffer) -> None:
        """Shows the depth and underruns of the jitter buffer."""
        text = f"jitter buffer {buffer.depth * 1e3:3.0f} ms, {buffer.underruns} underruns"
        self._progress.update(self._task, jitter=text)


def level_bar(samples: Pcm16) -> str:
    """The level of int16 [samples] as one character, higher for louder."""

    if len(samples) == 0:
        return _BARS[0]
    rms = np.sqrt(np.mean(np.square(samples.astype(np.float64)))) / FULL_SCALE
    decibels = 20 * np.log10(max(rms, 1e-9))
    height = (decibels - _QUIETEST) / -_QUIETEST * (len(_BARS) - 1)
    return _BARS[int(np.clip(np.ceil(height), 0, len(_BARS) - 1))]
