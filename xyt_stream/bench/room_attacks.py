"""Defines what hostile members of a room do, as attacks.py does for single clients."""

from __future__ import annotations

import asyncio

from xyt_stream.bench.attack_client import Target, dial, flood, hello, media, name_in

_SPEAKERS = 3  # in the room of one attacker
_CODES, _SEALED = 2, 3  # kinds of media
_FRAME, _SEALED_FRAME = 10, 38  # bytes of one


async def codes_of_a_mic(target: Target) -> str:
    """Codes, a frame a message, as fast as may be, to speakers who read."""
    return await _into_a_room(target, _CODES, _FRAME)


async def sealed_codes(target: Target) -> str:
    """The same in an encrypted room."""
    return await _into_a_room(target, _SEALED, _SEALED_FRAME, send="sealed", receive=["sealed"])


async def listeners_unread(target: Target) -> str:
    """The same to speakers who ask for sound and do not read it."""
    return await _into_a_room(target, _CODES, _FRAME, reads=False)


async def _into_a_room(
    target: Target,
    kind: int,
    size: int,
    *,
    send: str = "codes",
    receive: list[str] | None = None,
    reads: bool = True,
) -> str:
    room = f"{send}{reads}{target.address}"
    speaker = hello("speaker", room=room, receive=receive or (["codes"] if reads else ["pcm"]))
    mic = hello("mic", room=room, send=send, receive=receive and [])
    opened = [await dial(target, speaker) for _ in range(_SPEAKERS)]
    reading = [asyncio.create_task(_read(reader)) for reader, _ in opened if reads]
    pieces = b"".join(media(seq, bytes(size), kind) for seq in range(100_000))
    try:
        return await flood(target, pieces, 1, first=mic)
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for _, writer in opened:
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


async def models_that_leave(target: Target) -> str:
    """A model sends into a room without a user and is gone, again and again."""
    names = set()
    for number in range(24):
        pieces = b"".join(media(seq, bytes(10), 2) for seq in range(8))
        first = hello("model", room=f"left{number % 4}")
        reader, writer = await dial(target, first)
        writer.write(pieces)
        names.add(name_in(await reader.read(4096)))
        writer.transport.abort()
        await asyncio.sleep(0.05)
    return ", ".join(sorted(names - {"held back"})) or "let go"
