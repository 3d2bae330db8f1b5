"""Defines what a hostile client does: each attack is bounded in time, and returns how it ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from xyt_stream.bench.attack_client import (
    BINARY,
    PING,
    SECONDS,
    TEXT,
    Target,
    again_and_again,
    dial,
    event,
    flood,
    frame,
    hello,
    leave,
    media,
    name_in,
)
from xyt_stream.bench.http_attacks import (
    connections_that_leave,
    handshakes,
    heads,
    pages,
    silent_connections,
)
from xyt_stream.bench.realtime_attacks import (
    appends_of_one_byte,
    events_of_many_kinds,
    items_of_sound,
    items_retrieved,
    long_ids,
    many_values,
    settings_that_change,
    turns_that_are_cleared,
)
from xyt_stream.bench.room_attacks import (
    codes_of_a_mic,
    listeners_at_another_rate,
    listeners_unread,
    models_that_leave,
    sealed_codes,
)
from xyt_stream.bench.stream_attacks import (
    conversations_in_all_slots,
    sessions_left_with_sound,
    slow_readers,
    streams_ahead,
    streams_in_all_slots,
)

Attack: TypeAlias = Callable[[Target], Awaitable[str]]


async def pings_of_a_stranger(target: Target) -> str:
    """Websocket pings before any hello."""
    return await flood(target, 1000 * frame(PING), 1300)


async def pings_in_a_session(target: Target) -> str:
    """The same after it."""
    return await flood(target, 1000 * frame(PING), 1300, first=hello("loopback"))


async def pings_unread(target: Target) -> str:
    """The same, and nothing is read."""
    return await flood(target, 1000 * frame(PING), 1300, first=hello("loopback"), reads=False)


async def json_pings(target: Target) -> str:
    """The protocol's own pings."""
    return await flood(target, 500 * event("ping", time=1), 400, first=hello("loopback"))


async def clears(target: Target) -> str:
    """Interruptions."""
    return await flood(target, 500 * event("clear"), 400, first=hello("user"))


async def unknown_messages(target: Target) -> str:
    """Messages that are ignored."""
    return await flood(target, 500 * event("nothing"), 400, first=hello("loopback"))


async def single_samples(target: Target) -> str:
    """Media of one sample."""
    pieces = b"".join(media(seq, bytes(2)) for seq in range(100_000))
    return await flood(target, pieces, 1, first=hello("encode", resumable=True))


async def empty_codes(target: Target) -> str:
    """Media of no frames."""
    pieces = b"".join(media(seq, b"", 2) for seq in range(100_000))
    return await flood(target, pieces, 1, first=hello("decode", resumable=True))


async def acks(target: Target) -> str:
    """Acknowledgements of what was never sent."""
    return await flood(
        target, 500 * event("ack", received=0), 400, first=hello("encode", resumable=True)
    )


async def no_messages(target: Target) -> str:
    """Text that is no JSON, media without a header."""
    piece = 250 * (frame(TEXT, b"{") + frame(BINARY, b"x"))
    return await flood(target, piece, 400, first=hello("loopback"))


async def fragments(target: Target) -> str:
    """A message that never ends."""
    opening = frame(BINARY, final=False)
    return await flood(
        target, 1000 * frame(0, final=False), 100, before=opening, first=hello("loopback")
    )


async def large_messages(target: Target) -> str:
    """Messages as large as may be, of sound that waits."""
    pieces = b"".join(media(seq, bytes(262_000)) for seq in range(100))
    return await flood(target, pieces, 1, first=hello("mic", room=f"attack{target.address}"))


async def sessions_that_leave(target: Target) -> str:
    """Sessions that are opened, send half a second of sound and are gone."""
    roles = "loopback", "encode", "user"
    firsts = [hello(roles[number % 3], resumable=number % 2 == 0) for number in range(60)]
    return await leave(target, firsts, media(0, bytes(16_000)))


async def resumes(target: Target) -> str:
    """A session that is resumed from its beginning again and again, and guessed keys between."""
    reader, writer = await dial(target, hello("loopback", resumable=True))
    await reader.readuntil(b'"token":"')
    token = (await reader.readuntil(b'"'))[:-1].decode()
    writer.write(b"".join(media(seq, bytes(25_600)) for seq in range(6)))
    try:
        return await again_and_again(target, partial(_resume, target, token))
    finally:
        writer.transport.abort()


async def _resume(target: Target, token: str, number: int) -> str:
    key = token if number % 2 else f"{token[:-4]}AAAA"
    first = hello("loopback", resumable=True, resume={"token": key})
    reader, writer = await dial(target, first)
    try:
        return name_in(await reader.read(1 << 16))
    finally:
        writer.transport.abort()


ATTACKS: tuple[Attack, ...] = (
    pings_of_a_stranger,
    pings_in_a_session,
    pings_unread,
    json_pings,
    clears,
    unknown_messages,
    single_samples,
    empty_codes,
    acks,
    no_messages,
    fragments,
    large_messages,
    streams_in_all_slots,
    streams_ahead,
    slow_readers,
    sessions_left_with_sound,
    conversations_in_all_slots,
    appends_of_one_byte,
    events_of_many_kinds,
    items_of_sound,
    items_retrieved,
    long_ids,
    many_values,
    settings_that_change,
    turns_that_are_cleared,
    codes_of_a_mic,
    sealed_codes,
    listeners_unread,
    listeners_at_another_rate,
    models_that_leave,
    sessions_that_leave,
    silent_connections,
    connections_that_leave,
    pages,
    heads,
    handshakes,
    resumes,
)


async def run(
    attack: Attack, port: int, times: int, *, slow: bool = False, seconds: float = SECONDS
) -> str:
    """Runs an attack from several addresses at once; returns the ways in which they ended.

    Elsewhere than on Linux a machine has one loopback address, from which all come.
    """
    results = set()
    several = sys.platform == "linux"
    addresses = [f"127.0.0.{1 + number if several else 1}" for number in range(times)]
    targets = [Target(port, address, slow, seconds) for address in addresses]
    with suppress(asyncio.TimeoutError):
        each = await asyncio.wait_for(
            asyncio.gather(*map(attack, targets), return_exceptions=True), 3 * seconds
        )
        results = {"cut off" if isinstance(one, BaseException) else one for one in each}
    return ", ".join(sorted(results)) or "held back"
