"""One process full of clients, each a loopback session in real time."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
import numpy as np

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE, Pcm16
from xyt_stream.bench.speech import in_real_time
from xyt_stream.client import Connection, connect
from xyt_stream.client.report import Latency
from xyt_stream.errors import ConnectionFailedError, ProtocolError
from xyt_stream.protocol.machine import Pcm
from xyt_stream.protocol.messages import End


@dataclass
class Heard:
    """What one client heard.

    Attributes:
        sent, received: frames.
        turnaround: seconds, of each frame that came back.
        step_ms: the server's, if it said.
        error: why the session failed, if it did.
    """

    sent: int
    received: int = 0
    turnaround: list[float] = field(default_factory=list)
    step_ms: dict[str, float] | None = None
    error: str | None = None


def run_clients(
    url: str, token: str | None, count: int, number: int, pcm: Pcm16, seconds: float
) -> list[Heard]:
    """Runs `count` clients for `seconds`; `number` makes each process's moments its own."""
    return asyncio.run(_all(url, token, count, number, pcm, seconds))


async def _all(
    url: str, token: str | None, count: int, number: int, pcm: Pcm16, seconds: float
) -> list[Heard]:
    moments = np.random.default_rng(number).uniform(0, 1, count)
    return await asyncio.gather(
        *(_client(url, token, np.roll(pcm, round(m * len(pcm))), m, seconds) for m in moments)
    )


async def _client(url: str, token: str | None, pcm: Pcm16, moment: float, seconds: float) -> Heard:
    samples = round(seconds * INPUT_RATE)
    heard = Heard(sent=-(-samples // FRAME_SAMPLES))
    try:
        async with connect(url, "loopback", send_rate=INPUT_RATE, token=token) as connection:
            latency = Latency(connection.ready.frame_samples)
            speaking = asyncio.create_task(
                _speak(connection, np.resize(pcm, samples), latency, moment)
            )
            frames = set()
            async for event in connection:
                if isinstance(event, Pcm):
                    latency.arrived(event.frame)
                    frames.add(event.frame)
                elif isinstance(event, End) and event.step_ms is not None:
                    heard.step_ms = msgspec.structs.asdict(event.step_ms)
            await speaking
            heard.received, heard.turnaround = len(frames), latency.values
    except (ConnectionFailedError, ProtocolError) as error:
        heard.error = str(error)
    return heard


async def _speak(connection: Connection, pcm: Pcm16, latency: Latency, moment: float) -> None:
    """Says it in real time, beginning within the first second."""
    began = time.monotonic() + moment
    with suppress(ConnectionFailedError, ProtocolError):  # whoever listens hears of it, too
        async for block in in_real_time(pcm, began):
            latency.sent(len(block))
            await connection.send_pcm(block)
        await connection.end()
