"""Shows one line in the terminal while audio runs: state, time, level, bits, latency."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from xyt_stream.audio import FULL_SCALE, Pcm16
from xyt_stream.client.jitter import JitterBuffer
from xyt_stream.client.traffic import Traffic

_BARS = " ▁▂▃▄▅▆▇█"
_QUIETEST = -60.0  # dB of full scale
_AVERAGED = 4.0  # seconds of traffic in the bit rate
_PAUSE = 1.0  # seconds without sound after which the state is `idle`


class Meters:
    """A line on stderr that updates itself; nothing if stderr is not a terminal.

    Args:
        title: name of the activity.
        seconds: expected duration; None: unknown.
        idle: the state in which no sound has come for a second; None: it is "live" as well.
        clock: returns seconds.
    """

    def __init__(
        self,
        title: str,
        seconds: float | None,
        *,
        idle: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._idle = idle
        self._clock = clock
        self._interrupted = False
        self._heard = -_PAUSE  # time of the latest sound
        self._listeners: int | None = None  # of a mic; None: unknown
        self._moments: collections.deque[tuple[float, int, int]] = collections.deque()
        # The name of a room may look like markup, and is printed as it is.
        console = Console(stderr=True, markup=False, emoji=False)
        self.visible = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[state]}", markup=False),
            *([BarColumn(bar_width=10)] if seconds is not None and console.width > 90 else []),
            TimeElapsedColumn(),
            TextColumn("{task.fields[level]}", markup=False),
            TextColumn("{task.fields[bits]}", markup=False),
            TextColumn("{task.fields[network]}", markup=False),
            TextColumn("{task.fields[latency]}", markup=False),
            console=console,
            transient=True,
            disable=not self.visible,
        )
        fields: dict[str, Any] = dict.fromkeys(("bits", "network", "latency"), "")
        fields |= {"state": idle or "live", "level": " "}
        self._task = self._progress.add_task(title, total=seconds, **fields)

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

    @property
    def line(self) -> str:
        """The fields as they are shown now, for tests."""
        return " ".join(str(value) for value in self._progress.tasks[0].fields.values())

    def sound(self, samples: Pcm16, rate: int) -> None:
        """Advances the time by int16 [samples] at `rate` Hz, and shows their level."""
        self._heard = self._clock()
        self._progress.update(self._task, advance=len(samples) / rate, level=level_bar(samples))
        self._show_state()

    def traffic(self, traffic: Traffic) -> None:
        """Shows the bits a second of the last seconds; call it again and again."""
        now = self._clock()
        self._moments.append((now, traffic.sent, traffic.received))
        while now - self._moments[0][0] > _AVERAGED:
            self._moments.popleft()
        began, sent, received = self._moments[0]
        if now > began:
            rates = [8 * (traffic.sent - sent), 8 * (traffic.received - received)]
            up, down = (f"{bits / (now - began) / 1e3:.1f}" for bits in rates)
            self._progress.update(self._task, bits=f"kbit/s {up} out, {down} in")
        self._show_state()

    def network(self, seconds: float) -> None:
        """Shows the round trip to the server."""
        self._progress.update(self._task, network=f"ping {seconds * 1e3:.0f} ms")

    def listeners(self, count: int) -> None:
        """Shows how many speakers hear this microphone."""
        self._listeners = count
        self._show_state()

    def interrupted(self, interrupted: bool) -> None:
        """Shows whether the connection is lost."""
        self._interrupted = interrupted
        self._show_state()

    def _show_state(self) -> None:
        if self._interrupted:
            state = "reconnecting"
        elif self._idle is not None and self._clock() - self._heard > _PAUSE:
            state = self._idle
        elif self._listeners is not None:
            hear = f"{self._listeners or 'nobody'} listen{'s' * (self._listeners < 2)}"
            state = f"live, {hear}"
        else:
            state = "live"
        self._progress.update(self._task, state=state)

    def notice(self, text: str) -> None:
        """Prints a line above the meters."""
        self._progress.console.print(text, highlight=False)

    def note(self, text: str) -> None:
        """Prints a line, unless it is empty."""
        if text:
            self.notice(text)

    def latency(self, buffer: JitterBuffer, before: float | None) -> None:
        """Shows the latency up to the loudspeaker.

        Args:
            buffer: the jitter buffer.
            before: seconds from the microphone to the buffer; None: unknown, and the time in the
                buffer is shown alone.
        """
        name, ms = "buffer", buffer.depth * 1e3
        if before is not None:
            name, ms = "latency", ms + before * 1e3
        gaps = f", {buffer.underruns} gaps" if buffer.underruns else ""
        self._progress.update(self._task, latency=f"{name} {ms:.0f} ms{gaps}")


def level_bar(samples: Pcm16) -> str:
    """The level of int16 [samples] as one character, higher for louder."""

    if len(samples) == 0:
        return _BARS[0]
    rms = np.sqrt(np.mean(np.square(samples.astype(np.float64)))) / FULL_SCALE
    decibels = 20 * np.log10(max(rms, 1e-9))
    height = (decibels - _QUIETEST) / -_QUIETEST * (len(_BARS) - 1)
    return _BARS[int(np.clip(np.ceil(height), 0, len(_BARS) - 1))]
