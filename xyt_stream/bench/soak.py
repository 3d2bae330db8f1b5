"""A server that people come to and leave for a long time: does it keep what it should give back?"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import track
from rich.table import Table

from xyt_stream.audio import INPUT_RATE, Pcm16
from xyt_stream.bench.load import Target, info, process_of
from xyt_stream.bench.speech import in_real_time
from xyt_stream.client import Connection, connect
from xyt_stream.errors import ConnectionFailedError, ProtocolError

if TYPE_CHECKING:
    from psutil import Process

FIRST = 60.0  # seconds after which the server has all that it needs
TOLERANCE = 0.02
_LONGEST_VISIT = 15.0  # seconds
_VANISH = 0.2  # of the visits end without a word


@dataclass(frozen=True)
class Held:
    """What a server holds while nobody is there."""

    memory_mib: float
    descriptors: int
    slots_free: int


@dataclass(frozen=True)
class Soak:
    """What it held after the first minute and at the end, and how many came in between.

    Attributes:
        visits: sessions in all.
        failed: of these, refused or cut off.
    """

    minutes: float
    visits: int
    failed: int
    first: Held
    last: Held

    @property
    def good(self) -> bool:
        """Nothing grew."""
        return (
            self.last.slots_free == self.first.slots_free
            and self.last.memory_mib <= self.first.memory_mib * (1 + TOLERANCE)
            and self.last.descriptors <= self.first.descriptors * (1 + TOLERANCE)
        )

    def flat(self) -> dict[str, Any]:
        """The figures for `--json`."""
        return {
            "minutes": self.minutes,
            "visits": self.visits,
            "failed": self.failed,
            "good": self.good,
            "first": vars(self.first),
            "last": vars(self.last),
        }

    def table(self) -> Table:
        """The figures for the terminal."""
        table = Table(
            *("", "after a minute", "at the end"),
            title=f"{self.minutes:g} minutes, {self.visits} sessions, {self.failed} failed: "
            + ("nothing grew" if self.good else "something grew"),
        )
        for name in vars(self.first):
            row = (getattr(self.first, name), getattr(self.last, name))
            table.add_row(name.replace("_", " "), *(f"{value:g}" for value in row))
        return table


def soak(target: Target, pcm: Pcm16, *, sessions: int, minutes: float) -> Soak:
    """Lets up to so many sessions come and go.

    Args:
        target: a server that was started for this.
        pcm: what they say, int16 [samples] at 16 kHz.
        minutes: in all, more than one.
    """
    assert target.pid is not None
    process = process_of(target.pid)
    visits = asyncio.run(_come_and_go(target.url, pcm, sessions, FIRST))
    first = _held(target, process)
    seconds = 60 * minutes - FIRST
    parts = max(1, round(seconds / FIRST))
    for _ in track(range(parts), "soaking", transient=True):
        visits += asyncio.run(_come_and_go(target.url, pcm, sessions, seconds / parts))
    return Soak(minutes, len(visits), visits.count(False), first, _held(target, process))


async def _come_and_go(url: str, pcm: Pcm16, sessions: int, seconds: float) -> list[bool]:
    """Whether each visit went well."""
    deadline = time.monotonic() + seconds
    each = await asyncio.gather(*(_visits(url, pcm, deadline) for _ in range(sessions)))
    return [well for visits in each for well in visits]


async def _visits(url: str, pcm: Pcm16, deadline: float) -> list[bool]:
    """One visitor after the other, until the deadline."""
    went_well = []
    while (left := deadline - time.monotonic()) > 0:
        await asyncio.sleep(random.uniform(0, min(1.0, left)))
        try:
            await _visit(url, pcm, min(random.uniform(0, _LONGEST_VISIT), left))
            went_well.append(True)
        except (ConnectionFailedError, ProtocolError):
            went_well.append(False)
    return went_well


async def _visit(url: str, pcm: Pcm16, seconds: float) -> None:
    role = random.choice(("loopback", "encode"))
    async with connect(url, role, send_rate=INPUT_RATE) as connection:
        said = np.resize(pcm, round(seconds * INPUT_RATE))
        listening = asyncio.create_task(_listen(connection))
        try:
            async for block in in_real_time(said, time.monotonic()):
                await connection.send_pcm(block)
            if random.random() > _VANISH:
                await connection.end()
                await listening
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def _listen(connection: Connection) -> None:
    async for _ in connection:
        pass


def _held(target: Target, process: Process) -> Held:
    """Waits until everybody's slot is free, and looks."""
    deadline = time.monotonic() + 60
    while True:
        said = info(target)
        if said["slots_free"] == said["slots"] or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    descriptors = []
    for _ in range(10):  # the socket of that very page closes a moment later
        time.sleep(0.1)
        descriptors.append(process.num_fds())
    return Held(process.memory_info().rss / 2**20, min(descriptors), said["slots_free"])
