"""Defines what sessions do that take every slot with streams of sound, as attacks.py does."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from xyt_stream.audio import FRAME_SAMPLES, FRAME_SECONDS
from xyt_stream.bench.attack_client import (
    REALTIME,
    Target,
    again_and_again,
    dial,
    event,
    hang_up,
    hello,
    leave_once,
    media,
)

_Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_SESSIONS = 12  # of one attacker; fewer where the slots are taken
_FRAME = os.urandom(2 * FRAME_SAMPLES)  # bytes of noise
_FAST = 8  # times real time
_READ_EVERY = 0.02  # seconds between the bytes that it reads
_TURN = 12  # frames of a turn in a conversation
_APPEND = event(
    "input_audio_buffer.append", audio=base64.b64encode(os.urandom(3 * FRAME_SAMPLES)).decode()
)  # a frame at 24 kHz
_ANSWER = event("input_audio_buffer.commit") + event("response.create")


async def streams_in_all_slots(target: Target) -> str:
    """Streams in real time, whose frames all come at the same instant."""
    return await _speak(target, FRAME_SECONDS)


async def streams_ahead(target: Target) -> str:
    """Streams ahead of real time in all slots."""
    return await _speak(target, FRAME_SECONDS / _FAST)


async def slow_readers(target: Target) -> str:
    """Streams ahead of real time, of clients that read what they get byte by byte."""
    return await _speak(target, _READ_EVERY, slowly=True, receive_rate=48_000)


async def conversations_in_all_slots(target: Target) -> str:
    """Realtime conversations ahead of real time in all slots, each turn answered."""
    return await _fill(
        target,
        FRAME_SECONDS / _FAST,
        lambda number: dial(target, b"", **REALTIME),
        lambda number: _APPEND if (number + 1) % _TURN else _APPEND + _ANSWER,
    )


async def sessions_left_with_sound(target: Target) -> str:
    """Resumable sessions that are left while two seconds of their sound wait."""
    first = hello("loopback", resumable=True)
    sound = b"".join(media(number, 10 * _FRAME) for number in range(3))
    return await again_and_again(target, lambda number: leave_once(target, first, sound))


async def _speak(target: Target, every: float, *, slowly: bool = False, **fields: object) -> str:
    """Fills the slots with streams of noise; see `_fill`.

    Args:
        fields: of each hello.
    """
    return await _fill(
        target,
        every,
        lambda number: dial(target, hello("loopback", resumable=number % 2 == 0, **fields)),
        lambda number: media(number, _FRAME),
        slowly=slowly,
    )


async def _fill(
    target: Target,
    every: float,
    opening: Callable[[int], Awaitable[_Streams]],
    message: Callable[[int], bytes],
    *,
    slowly: bool = False,
) -> str:
    """Opens sessions and sends a message in each every so many seconds, while it takes it.

    Args:
        target: that is attacked.
        every: seconds.
        opening: opens the session with a number.
        message: makes a session's message with a number.
        slowly: whether what comes back is read slowly.
    """
    opened, reading = [], []
    try:
        for number in range(_SESSIONS):
            reader, writer = await opening(number)
            opened.append(writer)
            reading.append(asyncio.create_task(_read(reader, slowly=slowly)))
        await _send(opened, every, target.seconds, message)
    finally:
        await hang_up(reading, opened)
    return f"{len(opened)} sessions"


async def _send(
    opened: list[asyncio.StreamWriter],
    every: float,
    seconds: float,
    message: Callable[[int], bytes],
) -> None:
    loop, sent = asyncio.get_running_loop(), [0] * len(opened)
    due, end = loop.time(), loop.time() + seconds
    while loop.time() < end:
        for number, writer in enumerate(opened):
            transport = writer.transport
            if not transport.get_write_buffer_size() and not transport.is_closing():
                writer.write(message(sent[number]))
                sent[number] += 1
        due += every
        await asyncio.sleep(max(0.0, due - loop.time()))


async def _read(reader: asyncio.StreamReader, *, slowly: bool) -> None:
    while await reader.read(1 if slowly else 1 << 16):
        if slowly:
            await asyncio.sleep(_READ_EVERY)
