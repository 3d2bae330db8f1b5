"""Runs many clients in one process, each a loopback session in real time."""

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
class ClientResult:
    """The result of one client's session.

    Attributes:
        sent, received: frames.
        turnaround: of each frame that came back, seconds.
        step_ms: the server's step times, if it reported them.
        error: why the session failed; None if it did not.
    """

    sent: int
    received: int = 0
    turnaround: list[float] = field(default_factory=list)
    step_ms: dict[str, float] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Access:
    """Holds the credentials that a server asks of its clients.

    Attributes:
        token, fingerprint: as for `connect`.
    """

    token: str | None = None
    fingerprint: str | None = None


def run_clients(
    url: str, access: Access, count: int, number: int, pcm: Pcm16, seconds: float
) -> list[ClientResult]:
    """Runs `count` clients for `seconds`.

    Args:
        number: of this process; it seeds the clients' offsets.
    """
    return asyncio.run(_all(url, access, count, number, pcm, seconds))


async def _all(
    url: str, access: Access, count: int, number: int, pcm: Pcm16, seconds: float
) -> list[ClientResult]:
    offsets = np.random.default_rng(number).uniform(0, 1, count)
    return await asyncio.gather(
        *(_client(url, access, np.roll(pcm, round(x * len(pcm))), x, seconds) for x in offsets)
    )


async def _client(
    url: str, access: Access, pcm: Pcm16, offset: float, seconds: float
) -> ClientResult:
    samples = round(seconds * INPUT_RATE)
    result = ClientResult(sent=-(-samples // FRAME_SAMPLES))
    try:
        async with connect(
            url,
            "loopback",
            send_rate=INPUT_RATE,
            token=access.token,
            fingerprint=access.fingerprint,
        ) as connection:
            latency = Latency(connection.ready.frame_samples)
            sending = asyncio.create_task(
                _send(connection, np.resize(pcm, samples), latency, offset)
            )
            frames = set()
            async for event in connection:
                if isinstance(event, Pcm):
                    latency.arrived(event.frame)
                    frames.add(event.frame)
                elif isinstance(event, End) and event.step_ms is not None:
                    result.step_ms = msgspec.structs.asdict(event.step_ms)
            await sending
            result.received, result.turnaround = len(frames), list(latency.values)
    except (ConnectionFailedError, ProtocolError) as error:
        result.error = str(error)
    return result


async def _send(connection: Connection, pcm: Pcm16, latency: Latency, offset: float) -> None:
    """Sends the sound in real time, from `offset` seconds on, 0 to 1."""
    began = time.monotonic() + offset
    with suppress(ConnectionFailedError, ProtocolError):  # the receiving side raises it, too
        async for block in in_real_time(pcm, began):
            latency.sent(len(block))
            await connection.send_pcm(block)
        await connection.end()
