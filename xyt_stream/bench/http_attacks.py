"""Defines what hostile connections without a session do, as attacks.py does for sessions."""

from __future__ import annotations

import asyncio
from functools import partial

from xyt_stream.bench.attack_client import (
    BINARY,
    Target,
    again_and_again,
    dial,
    frame,
    name_in,
)

_MANY_HEADERS = b"".join(b"X-%d: %d\r\n" % (number, number) for number in range(3500))


async def silent_connections(target: Target) -> str:
    """Connections that say nothing."""
    opened = [await target.connect() for _ in range(85)]
    ended = [asyncio.create_task(reader.read()) for reader, _ in opened]
    done, _ = await asyncio.wait(ended, timeout=1.0)
    for _, writer in opened:
        writer.transport.abort()
    await asyncio.gather(*ended, return_exceptions=True)
    return f"{len(done)} of 85 dropped"


async def connections_that_leave(target: Target) -> str:
    """Connections that are closed at once, without a byte."""
    return await again_and_again(target, partial(_connection, target))


async def pages(target: Target) -> str:
    """Pages and metrics, one after the other."""
    return await again_and_again(target, partial(_page, target))


async def handshakes(target: Target) -> str:
    """Websockets that open, ask for a node's sessions or say no hello, and are gone."""
    return await again_and_again(target, partial(_handshake, target))


async def heads(target: Target) -> str:
    """Requests of thousands of headers."""
    return await again_and_again(target, partial(_head, target))


async def _connection(target: Target, _number: int) -> str:
    writer = (await target.connect())[1]
    writer.transport.abort()
    return "let go"


async def _page(target: Target, number: int) -> str:
    reader, writer = await target.connect()
    try:
        path = ("/metrics", "/", "/info", "/codec.json")[number % 4]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return (await reader.read())[9:12].decode()
    finally:
        writer.transport.abort()


async def _handshake(target: Target, number: int) -> str:
    path, protocol = (("/", "xyt.v1"), ("/v1/handover", "xyt.handover.v1"))[number % 2]
    reader, writer = await dial(target, path=path, protocol=protocol)
    try:
        writer.write(frame(BINARY, b"x"))
        return name_in(await reader.read(4096))
    finally:
        writer.transport.abort()


async def _head(target: Target, _number: int) -> str:
    reader, writer = await target.connect()
    try:
        writer.write(b"GET / HTTP/1.1\r\n" + _MANY_HEADERS + b"\r\n")
        return (await reader.read())[9:12].decode()
    finally:
        writer.transport.abort()
