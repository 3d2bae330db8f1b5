"""Connects a hostile client, writes its frames by hand, and reads how the server ends it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

TEXT, BINARY, PING = 1, 2, 9  # opcodes
_FINAL = 0x80
SECONDS = 3.0  # that one attack may last
PAUSE = 0.05  # seconds between the pieces of a slow attack
REALTIME = {"path": "/v1/realtime?model=any", "protocol": "realtime"}  # for `dial`


@dataclass(frozen=True)
class Target:
    """The server, and how it is attacked.

    Attributes:
        port: of the server, on this machine.
        address: of this machine that the attack comes from.
        slow: whether it pauses between its pieces, so that it lasts.
        seconds: that a flood may last.
    """

    port: int
    address: str = "127.0.0.1"
    slow: bool = False
    seconds: float = SECONDS

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Opens a TCP connection."""
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(self.address, 0))


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A client's websocket frame; its mask is zeros."""
    size = len(payload)
    first = bytes([opcode | _FINAL * final])
    if size < 126:
        return first + bytes([0x80 | size]) + bytes(4) + payload
    if size < 1 << 16:
        return first + b"\xfe" + struct.pack(">H", size) + bytes(4) + payload
    return first + b"\xff" + struct.pack(">Q", size) + bytes(4) + payload


def event(kind: str, **fields: object) -> bytes:
    """A frame with a JSON message."""
    return frame(TEXT, json.dumps({"type": kind, **fields}).encode())


def hello(role: str, **fields: object) -> bytes:
    """A frame with the first message of a session."""
    return event("hello", role=role, **fields)


def media(seq: int, payload: bytes, kind: int = 1) -> bytes:
    """A frame with a media message."""
    return frame(BINARY, struct.pack("<BBxxII", kind, 0, seq, 0) + payload)


async def dial(
    target: Target, first: bytes = b"", *, path: str = "/", protocol: str = "xyt.v1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Opens a websocket to this machine and sends the first frame, if there is one."""
    reader, writer = await target.connect()
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.write(first)
    if first:
        await reader.read(1)
    return reader, writer


async def flood(
    target: Target,
    piece: bytes,
    times: int,
    *,
    first: bytes = b"",
    before: bytes = b"",
    realtime: bool = False,
    reads: bool = True,
) -> str:
    """Sends `before` once and `piece` many times; returns the name of the connection's error."""
    reader, writer = await dial(target, first, **(REALTIME if realtime else {}))
    heard = bytearray()

    async def listen() -> None:
        while data := await reader.read(1 << 16):
            heard.extend(data)
            del heard[:-8192]

    async def send() -> None:
        writer.write(before)
        for _ in range(times):
            writer.write(piece)
            await writer.drain()
            if target.slow:
                await asyncio.sleep(PAUSE)

    tasks = [asyncio.create_task(send())]
    if reads:
        tasks.append(asyncio.create_task(listen()))
    await asyncio.wait(tasks, timeout=target.seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    writer.transport.abort()
    return name_in(bytes(heard))


async def hang_up(
    reading: Sequence[asyncio.Task[None]], writers: Iterable[asyncio.StreamWriter]
) -> None:
    """Cancels the tasks that read, and drops the connections."""
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    for writer in writers:
        writer.transport.abort()


async def leave_once(target: Target, first: bytes, then: bytes) -> str:
    """Opens a session, sends `then` in it, and is gone; returns the name of the session's error."""
    reader, writer = await dial(target, first)
    try:
        writer.write(then)
        return name_in(await reader.read(4096))
    finally:
        writer.transport.abort()


async def leave(target: Target, firsts: Iterable[bytes], then: bytes) -> str:
    """Opens sessions one after the other, sends `then` in each, and is gone.

    Args:
        target: that is attacked.
        firsts: the frame with each session's hello.
        then: what is sent after it.

    Returns:
        The names of the sessions' errors.
    """
    names = set()
    for first in firsts:
        names.add(await leave_once(target, first, then))
        await asyncio.sleep(PAUSE if target.slow else 0)
    return in_words(names - {"held back"}) or "let go"


async def again_and_again(target: Target, once: Callable[[int], Awaitable[str]]) -> str:
    """Connects eight times at once, as often as may be; returns the different answers."""
    answers, end = set(), asyncio.get_running_loop().time() + target.seconds

    async def repeat() -> None:
        number = 0
        while asyncio.get_running_loop().time() < end:
            try:
                answers.add(await once(number))
            except (OSError, EOFError):
                answers.add("closed")
            number += 1
            await asyncio.sleep(PAUSE if target.slow else 0)

    await asyncio.gather(*(repeat() for _ in range(8)))
    return in_words(answers)


def in_words(results: Iterable[str]) -> str:
    """The different results, as a list for the table; empty ones are left out."""
    return ", ".join(sorted(set(results) - {""}))


def name_in(heard: bytes) -> str:
    """The name of the error in the last thing heard."""
    for mark in (b'"code":"', b'"name":"'):
        place = heard.rfind(mark)
        if place >= 0 and b'"error"' in heard:
            return heard[place + len(mark) :].split(b'"')[0].decode()
    return "held back"
