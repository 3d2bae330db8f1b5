"""Defines what sessions do that take every slot with streams of sound, as attacks.py does."""

from __future__ import annotations

import asyncio
import os

from xyt_stream.audio import FRAME_SAMPLES, FRAME_SECONDS
from xyt_stream.bench.attack_client import Target, dial, hang_up, hello, media

_SESSIONS = 12  # of one attacker; fewer where the slots are taken
_FRAME = os.urandom(2 * FRAME_SAMPLES)  # bytes of noise
_FAST = 8  # times real time
_READ_EVERY = 0.02  # seconds between the bytes that it reads


async def streams_in_all_slots(target: Target) -> str:
    """Streams in real time, whose frames all come at the same instant."""
    return await _speak(target, FRAME_SECONDS)


async def streams_ahead(target: Target) -> str:
    """Streams ahead of real time in all slots."""
    return await _speak(target, FRAME_SECONDS / _FAST)


async def slow_readers(target: Target) -> str:
    """Streams ahead of real time, of clients that read what they get byte by byte."""
    return await _speak(target, _READ_EVERY, slowly=True, receive_rate=48_000)


async def _speak(target: Target, every: float, *, slowly: bool = False, **fields: object) -> str:
    """Opens sessions and sends a frame in each every so many seconds, while it takes it.

    Args:
        target: that is attacked.
        every: seconds.
        slowly: whether what comes back is read slowly.
        fields: of each hello.
    """
    opened, reading = [], []
    try:
        for number in range(_SESSIONS):
            first = hello("loopback", resumable=number % 2 == 0, **fields)
            reader, writer = await dial(target, first)
            opened.append(writer)
            reading.append(asyncio.create_task(_read(reader, slowly=slowly)))
        await _send(opened, every, target.seconds)
    finally:
        await hang_up(reading, opened)
    return f"{len(opened)} sessions"


async def _send(opened: list[asyncio.StreamWriter], every: float, seconds: float) -> None:
    loop, sent = asyncio.get_running_loop(), [0] * len(opened)
    due, end = loop.time(), loop.time() + seconds
    while loop.time() < end:
        for number, writer in enumerate(opened):
            transport = writer.transport
            if not transport.get_write_buffer_size() and not transport.is_closing():
                writer.write(media(sent[number], _FRAME))
                sent[number] += 1
        due += every
        await asyncio.sleep(max(0.0, due - loop.time()))


async def _read(reader: asyncio.StreamReader, *, slowly: bool) -> None:
    while await reader.read(1 if slowly else 1 << 16):
        if slowly:
            await asyncio.sleep(_READ_EVERY)
