"""Defines what hostile members of a room do, as attacks.py does for single clients."""

from __future__ import annotations

import asyncio

from xyt_stream.audio import FRAME_SAMPLES
from xyt_stream.bench.attack_client import Target, dial, flood, hang_up, hello, leave, media
from xyt_stream.protocol.messages import Kind

_SPEAKERS = 3  # in the room of one attacker
_LISTENERS = 24  # of one attacker's mic, each at a rate of its own
_EVERY = 0.01  # seconds between the frames of that mic
_FRAMES = {"codes": (Kind.CODES, 10), "sealed": (Kind.SEALED, 38)}  # by media: with a frame's bytes


async def codes_of_a_mic(target: Target) -> str:
    """Codes, a frame a message, as fast as may be, to speakers who read."""
    return await _into_a_room(target, "codes", "codes")


async def sealed_codes(target: Target) -> str:
    """The same in an encrypted room."""
    return await _into_a_room(target, "sealed", "sealed")


async def listeners_unread(target: Target) -> str:
    """The same to speakers who ask for sound and do not read it."""
    return await _into_a_room(target, "codes", "pcm", reads=False)


async def listeners_at_another_rate(target: Target) -> str:
    """A mic eight times as fast as real time, whose listeners take its sound at 48 kHz."""
    room = f"rate{target.address}"
    speaker = hello("speaker", room=room, receive=["pcm"], receive_rate=48_000)
    _, mic = await dial(target, hello("mic", room=room, receive=[]))
    opened = [await dial(target, speaker) for _ in range(_LISTENERS)]
    reading = [asyncio.create_task(_read(reader)) for reader, _ in opened]
    try:
        for seq in range(round(target.seconds / _EVERY)):
            mic.write(media(seq, bytes(2 * FRAME_SAMPLES)))
            await mic.drain()
            await asyncio.sleep(_EVERY)
    finally:
        await hang_up(reading, (mic, *(writer for _, writer in opened)))
    return f"{len(opened)} listeners"


async def _into_a_room(target: Target, sent: str, heard: str, *, reads: bool = True) -> str:
    room = f"{sent}{heard}{target.address}"
    speaker = hello("speaker", room=room, receive=[heard])
    mic = hello("mic", room=room, send=sent, receive=[])
    kind, size = _FRAMES[sent]
    opened = [await dial(target, speaker) for _ in range(_SPEAKERS)]
    reading = [asyncio.create_task(_read(reader)) for reader, _ in opened if reads]
    pieces = b"".join(media(seq, bytes(size), kind) for seq in range(100_000))
    try:
        return await flood(target, pieces, 1, first=mic)
    finally:
        await hang_up(reading, (writer for _, writer in opened))


async def _read(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


async def models_that_leave(target: Target) -> str:
    """A model sends into a room without a user and is gone, again and again."""
    pieces = b"".join(media(seq, bytes(10), 2) for seq in range(8))
    firsts = [hello("model", room=f"left{number % 4}") for number in range(24)]
    return await leave(target, firsts, pieces)
