"""Lets sessions come and go for a long time and checks that the server's resources do not grow."""

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
from xyt_stream.bench.load import Target, info
from xyt_stream.bench.process_usage import process_of
from xyt_stream.bench.speech import in_real_time
from xyt_stream.client import Connection, connect
from xyt_stream.errors import ConnectionFailedError, ProtocolError

if TYPE_CHECKING:
    from psutil import Process

FIRST = 60.0  # s until the server has allocated all that it needs
TOLERANCE = 0.02  # growth that is not counted
_MAX_SESSION = 15.0  # s
_ABRUPT = 0.2  # share of the sessions that disconnect without an end message


@dataclass(frozen=True)
class IdleResources:
    """The resources of a server without sessions."""

    memory_mib: float
    descriptors: int
    slots_free: int


@dataclass(frozen=True)
class Soak:
    """The server's resources after the first minute and at the end.

    Attributes:
        sessions: sessions in all.
        failed: sessions that were refused or cut off.
    """

    minutes: float
    sessions: int
    failed: int
    first: IdleResources
    last: IdleResources

    @property
    def good(self) -> bool:
        """Whether nothing grew."""
        return (
            self.last.slots_free == self.first.slots_free
            and self.last.memory_mib <= self.first.memory_mib * (1 + TOLERANCE)
            and self.last.descriptors <= self.first.descriptors * (1 + TOLERANCE)
        )

    def flat(self) -> dict[str, Any]:
        """Returns the figures for `--json`."""
        return {
            "minutes": self.minutes,
            "sessions": self.sessions,
            "failed": self.failed,
            "good": self.good,
            "first": vars(self.first),
            "last": vars(self.last),
        }

    def table(self) -> Table:
        """Returns the figures for the terminal."""
        table = Table(
            *("server without sessions", "after a minute", "at the end"),
            title=f"{self.minutes:g} minutes, {self.sessions} sessions, {self.failed} failed: "
            + ("nothing grew" if self.good else "something grew"),
        )
        for name in vars(self.first):
            row = (getattr(self.first, name), getattr(self.last, name))
            table.add_row(name.replace("_", " "), *(f"{value:g}" for value in row))
        return table


def soak(target: Target, pcm: Pcm16, *, sessions: int, minutes: float) -> Soak:
    """Opens and closes sessions at random, up to `sessions` at a time.

    Args:
        target: a server that was started for this.
        pcm: the sound that they send, int16 [samples] at 16 kHz.
        minutes: duration, more than one.
    """
    assert target.pid is not None
    process = process_of(target.pid)
    results = asyncio.run(_run_sessions(target.url, pcm, sessions, FIRST))
    first = _idle_resources(target, process)
    seconds = 60 * minutes - FIRST
    rounds = max(1, round(seconds / FIRST))
    for _ in track(range(rounds), "soaking", transient=True):
        results += asyncio.run(_run_sessions(target.url, pcm, sessions, seconds / rounds))
    return Soak(
        minutes, len(results), results.count(False), first, _idle_resources(target, process)
    )


async def _run_sessions(url: str, pcm: Pcm16, sessions: int, seconds: float) -> list[bool]:
    """Returns for each session whether it succeeded."""
    deadline = time.monotonic() + seconds
    each = await asyncio.gather(*(_one_after_another(url, pcm, deadline) for _ in range(sessions)))
    return [result for results in each for result in results]


async def _one_after_another(url: str, pcm: Pcm16, deadline: float) -> list[bool]:
    """Opens one session after the other until the deadline."""
    results = []
    while (left := deadline - time.monotonic()) > 0:
        await asyncio.sleep(random.uniform(0, min(1.0, left)))
        try:
            await _session(url, pcm, min(random.uniform(0, _MAX_SESSION), left))
            results.append(True)
        except (ConnectionFailedError, ProtocolError):
            results.append(False)
    return results


async def _session(url: str, pcm: Pcm16, seconds: float) -> None:
    role = random.choice(("loopback", "encode"))
    async with connect(url, role, send_rate=INPUT_RATE) as connection:
        sent = np.resize(pcm, round(seconds * INPUT_RATE))
        receiving = asyncio.create_task(_receive(connection))
        try:
            async for block in in_real_time(sent, time.monotonic()):
                await connection.send_pcm(block)
            if random.random() > _ABRUPT:
                await connection.end()
                await receiving
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)


async def _receive(connection: Connection) -> None:
    async for _ in connection:
        pass


def _idle_resources(target: Target, process: Process) -> IdleResources:
    """Waits until all slots are free, then reads the resources."""
    deadline = time.monotonic() + 60
    while True:
        page = info(target)
        if page["slots_free"] == page["slots"] or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    descriptors = []
    for _ in range(10):  # the socket of this page closes a moment later
        time.sleep(0.1)
        descriptors.append(process.num_fds())
    return IdleResources(process.memory_info().rss / 2**20, min(descriptors), page["slots_free"])
