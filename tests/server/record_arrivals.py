"""Records when sound arrives over a bad network: python -m tests.server.record_arrivals NAME FILE

A mic and a server on one host, a speaker on another, TCP and websockets between them as ever; only
the cable's weather is made. Needs root and Debian's iproute2, as test_network.py does.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xyt_stream.bench.load_server import no_codec
from xyt_stream.client import connect
from xyt_stream.protocol.machine import Pcm
from xyt_stream.server.app import running

from .hosts import two_hosts

PACKETS = 1125  # 90 seconds
FRAME = 0.08  # seconds


def wifi(rng: random.Random) -> Callable[[], float | None]:
    """A home's: 2 ms; now and then up to a quarter of a second of somebody else's traffic."""
    until = 0.0

    def lateness() -> float | None:
        nonlocal until
        now = time.monotonic()
        if now > until and rng.random() < 0.01:
            until = now + rng.uniform(0.05, 0.25)
        if now > until:
            return 0.002 + rng.expovariate(1000)
        return None if rng.random() < 0.1 else 0.005 + rng.expovariate(40)

    return lateness


def mobile(rng: random.Random) -> Callable[[], float | None]:
    """A train's: 64 ms, half of it jitter; one in a hundred lost; silence between two cells."""
    next_cell = time.monotonic() + rng.uniform(5, 15)
    until = 0.0

    def lateness() -> float | None:
        nonlocal next_cell, until
        now = time.monotonic()
        if now > next_cell:
            until = now + rng.uniform(0.15, 0.6)
            next_cell = now + rng.uniform(5, 15)
        if now < until or rng.random() < 0.01:
            return None
        return 0.04 + rng.gammavariate(2, 0.012)

    return lateness


async def speak(url: str) -> None:
    async with connect(url, "mic", room="a") as mic:
        start = time.monotonic()
        for number in range(4 * PACKETS):
            await mic.send_pcm(np.zeros(320, np.int16))
            await asyncio.sleep(max(0.0, start + (number + 1) * FRAME / 4 - time.monotonic()))
        await mic.end()


async def listen(url: str) -> list[float]:
    """When each frame's sound came, seconds."""
    async with connect(url, "speaker", room="a") as speaker:
        return [time.monotonic() async for event in speaker if isinstance(event, Pcm)]


async def record(weather: str) -> list[float]:
    with two_hosts() as (here, there, cable):
        cable.lateness = {"wifi": wifi, "mobile": mobile}[weather](random.Random(1))

        def elsewhere(url: str) -> list[float]:
            with there.inside():
                return asyncio.run(listen(url))

        with here.inside():
            async with running(no_codec(), host=here.address, public=True) as server:
                listening = asyncio.create_task(asyncio.to_thread(elsewhere, server.url))
                while not server.service._sessions:  # noqa: ASYNC110 - it has no event to wait for
                    await asyncio.sleep(0.1)
                await speak(server.url)
                return await listening


if __name__ == "__main__":
    came = np.array(asyncio.run(record(sys.argv[1])))[:PACKETS]
    late = (came - FRAME * np.arange(len(came))) * 1e3
    Path(sys.argv[2]).write_text("".join(f"{ms:.0f}\n" for ms in late - late.min()))
