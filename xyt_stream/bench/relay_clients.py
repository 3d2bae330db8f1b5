"""Runs many coded clients in one process: rooms of one mic and some speakers, in real time.

The clients share the machine with the relay that they measure, so they cost as little as they can:
they speak the websocket by hand, and send codes that hold the time instead of speech.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.protocol.place import placed

_CODES = struct.Struct("<BBxxIIQH")  # a media message of one frame, whose codes are the time in ns
_ACK_EVERY = 16  # messages
_HEAD_END = b"\r\n\r\n"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_ONE_BINARY = 128 | _BINARY  # first byte of a whole binary message
_OPENING = 32  # sessions that one process opens at once
_PATIENCE = 60.0  # s until a session must be open, or ended


@dataclass
class RoomsResult:
    """The result of the rooms of one process.

    Attributes:
        sent: frames that should arrive, over all speakers.
        delays: seconds from sending each frame until a speaker had it.
        cpu: seconds of processor time that the process used while the mics spoke.
        errors: one line for each session that failed.
    """

    sent: int = 0
    delays: list[float] = field(default_factory=list)
    cpu: float = 0.0
    errors: list[str] = field(default_factory=list)


class CodesClient(asyncio.Protocol):
    """One session of codes.

    Args:
        host, path: for the request.
        hello: the first message.
        delays: gets the seconds that each frame took.

    Attributes:
        opened, ended: done with None, or with the reason why the session failed.
    """

    def __init__(self, host: str, path: str, hello: dict[str, object], delays: list[float]) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[str | None] = loop.create_future()
        self.ended: asyncio.Future[str | None] = loop.create_future()
        self._host = host
        self._path = path
        self._hello = hello
        self._delays = delays
        self._data = bytearray()
        self._upgraded = False
        self._received = 0
        self._sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for a websocket."""
        self.transport = transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
        )

    def send_frame(self) -> None:
        """Sends a frame whose codes are the time."""
        now = time.monotonic_ns()
        self._write(_BINARY, _CODES.pack(2, 0, self._sent, self._sent, now, 0))
        self._sent += 1

    def end(self) -> None:
        """Sends `end`."""
        self._write(_TEXT, b'{"type":"end"}')

    def data_received(self, data: bytes) -> None:
        """Takes what the server sends."""
        if not self._data and data[0] == _ONE_BINARY and len(data) == 2 + data[1]:
            self._take(_BINARY, data[2:])  # most often one whole frame comes
            return
        self._data += data
        if not self._upgraded:
            end = self._data.find(_HEAD_END)
            if end < 0:
                return
            if not self._data.startswith(b"HTTP/1.1 101"):
                self._fail(bytes(self._data[:end]).decode("latin-1").partition("\r\n")[0])
                return
            del self._data[: end + len(_HEAD_END)]
            self._upgraded = True
            self._write(_TEXT, json.dumps(self._hello).encode())
        place = 0
        while len(self._data) - place >= 4:
            opcode, size = self._data[place] & 15, self._data[place + 1]
            start = place + 2
            if size == 126:
                size, start = int.from_bytes(self._data[start : start + 2], "big"), start + 2
            if len(self._data) < start + size:
                break
            place = start + size
            self._take(opcode, bytes(self._data[start:place]))
        del self._data[:place]

    def connection_lost(self, exc: Exception | None) -> None:
        """The session is over, wanted or not."""
        self._fail("the connection was lost" if exc is None else str(exc))

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _BINARY:
            now = time.monotonic_ns()
            for start in range(12, len(payload), 10):
                sent = int.from_bytes(payload[start : start + 8], "little")
                self._delays.append((now - sent) / 1e9)
            self._received += 1
            if self._received % _ACK_EVERY == 0:
                ack = {"type": "ack", "received": self._received - 1}
                self._write(_TEXT, json.dumps(ack).encode())
        elif opcode == _TEXT:
            message = json.loads(payload)
            if message["type"] == "ready" and not self.opened.done():
                self.opened.set_result(None)
            elif message["type"] == "end" and not self.ended.done():
                self.ended.set_result(None)
            elif message["type"] == "error":
                self._fail(message["message"])
        elif opcode == _PING:
            self._write(_PONG, payload)
        elif opcode == _CLOSE:
            self._write(_CLOSE, payload)

    def _write(self, opcode: int, payload: bytes) -> None:
        if self.transport.is_closing():
            return
        # A mask of zeros leaves the payload as it is.
        size = len(payload)
        head = bytes([size | 128]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self.transport.write(bytes([128 | opcode]) + head + bytes(4) + payload)

    def _fail(self, reason: str) -> None:
        for each in (self.opened, self.ended):
            if not each.done():
                each.set_result(reason)


def run_rooms(
    url: str,
    first: int,
    rooms: int,
    speakers: int,
    seconds: float,
    wait: Callable[[], object],
    ready: Callable[[], object] = lambda: None,
) -> RoomsResult:
    """Runs rooms with the numbers from `first` on.

    Args:
        url: of the relay.
        speakers: of each room; `first` and `rooms` name the rooms.
        seconds: that each mic speaks.
        wait: returns once all processes may speak, and then once all have spoken.
        ready: called before: the clients of this process are there.
    """
    import uvloop

    return uvloop.run(_all(url, first, rooms, speakers, seconds, wait, ready))


async def _all(
    url: str,
    first: int,
    rooms: int,
    speakers: int,
    seconds: float,
    wait: Callable[[], object],
    ready: Callable[[], object],
) -> RoomsResult:
    result = RoomsResult()
    gate = asyncio.Semaphore(_OPENING)
    address = urlsplit(url)
    host, port = str(address.hostname), int(address.port or 80)
    loop = asyncio.get_running_loop()

    async def open_client(role: str, number: int) -> CodesClient:
        room = f"room {number}"
        path = "/?" + urlsplit(placed(url, room, role=role)).query  # for proxies
        hello = {"type": "hello", "role": role, "room": room, "resumable": True}
        hello |= {"send": "codes"} if role == "mic" else {"receive": ["codes"]}
        async with gate:
            _, client = await loop.create_connection(
                lambda: CodesClient(f"{host}:{port}", path, hello, result.delays), host, port
            )
            await done(client.opened)
        return client

    async def done(outcome: asyncio.Future[str | None]) -> None:
        await asyncio.wait({outcome}, timeout=_PATIENCE)
        failed = outcome.result() if outcome.done() else "the relay does not answer"
        if failed is not None:
            result.errors.append(failed)

    numbers = range(first, first + rooms)
    hearing = await asyncio.gather(
        *(open_client("speaker", number) for number in numbers for _ in range(speakers))
    )
    mics = await asyncio.gather(*(open_client("mic", number) for number in numbers))
    await asyncio.to_thread(ready)
    await asyncio.to_thread(wait)
    used = time.process_time()
    frames = round(seconds / FRAME_SECONDS)
    result.sent = frames * len(hearing)
    await asyncio.gather(*(_speak(mic, frames) for mic in mics))
    for client in (*hearing, *mics):
        await done(client.ended)
        client.transport.close()
    result.cpu = time.process_time() - used
    await asyncio.to_thread(wait)
    return result


async def _speak(mic: CodesClient, frames: int) -> None:
    """Sends so many frames in real time, beginning at a random moment."""
    loop = asyncio.get_running_loop()
    began = loop.time() + random.uniform(0, FRAME_SECONDS)
    over = loop.create_future()

    def send(frame: int) -> None:
        if frame == frames:
            mic.end()
            over.set_result(None)
            return
        mic.send_frame()
        loop.call_at(began + (frame + 1) * FRAME_SECONDS, send, frame + 1)

    loop.call_at(began, send, 0)
    await over
