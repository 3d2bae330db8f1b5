from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from xyt_stream.audio import Pcm16, to_float32, to_int16
from xyt_stream.client import Connection, connect
from xyt_stream.server.admission.sockets import Socket
from xyt_stream.server.app import Running
from xyt_stream.server.engine.slot_stream import SlotStream
from xyt_stream.server.sessions.session import Session
from xyt_stream.streaming.codec import Codec

_FRAME = 1280  # samples, 80 ms


class Clock:
    """Seconds that pass only when a test says so; every class with a clock takes it as `clock`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def undisturbed(codec: Codec, pcm: Pcm16) -> tuple[Any, Pcm16]:
    """Codes and sound of a session that has the engine to itself, step by step."""
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    frames = [encoder.push(to_float32(pcm[i : i + _FRAME])) for i in range(0, len(pcm), _FRAME)]
    codes = np.concatenate([*frames, encoder.flush()], axis=1)
    sound = [decoder.push(codes[:, i : i + 1]) for i in range(codes.shape[1])]
    return codes, to_int16(np.concatenate([*sound, decoder.flush()])[: len(pcm)])


def descriptors() -> int:
    """Number of this process's open files, sockets included; 0 where it is unknown."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def left_behind(server: Running) -> dict[str, int]:
    """Counts all that a server and this process hold for clients."""
    gc.collect()
    kinds = {Session: "sessions alive", SlotStream: "streams", Socket: "websockets"}
    held = dict.fromkeys(kinds.values(), 0)
    for thing in gc.get_objects():
        if type(thing) in kinds:
            held[kinds[type(thing)]] += 1
    held["slots"] = server.engine.slots - server.engine.free_slots
    held["sessions"] = len(server.service._sessions)
    held["rooms"] = len(server.service.rooms._rooms)
    held["tasks"] = len(asyncio.all_tasks())
    held["descriptors"] = descriptors()
    return held


@pytest.fixture
async def neighbour(
    server: Running,
    codec: Codec,
    clip: Pcm16,
    hear: Callable[..., Awaitable[Any]],
) -> AsyncIterator[None]:
    """A session that speaks in real time, over and over, while the test does what it does.

    Afterwards it must have heard what it would have heard alone, its codes to the bit, and the
    server must hold nothing that it did not hold before.
    """
    before = left_behind(server)
    said: list[Pcm16] = []
    enough = asyncio.Event()

    async def speak(connection: Connection) -> None:
        place = 0
        while not enough.is_set() or not said:
            said.append(np.take(clip, np.arange(place, place + 400), mode="wrap"))
            place += 400
            await connection.send_pcm(said[-1])
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(enough.wait(), 400 / 16_000)
        await connection.end()

    async with connect(server.url, "loopback", receive=("pcm", "codes")) as connection:
        tasks = [
            asyncio.create_task(speak(connection)),
            asyncio.create_task(hear(connection, timeout=3600.0)),
        ]
        yield
        enough.set()
        _, heard = await asyncio.gather(*tasks)
    codes, sound = await asyncio.to_thread(undisturbed, codec, np.concatenate(said))
    np.testing.assert_array_equal(heard.codes, codes)
    assert heard.notices == []
    assert len(heard.sound) == len(sound)
    # A step of one row multiplies in another order than one of many: the last bit of the sound.
    assert np.abs(heard.sound.astype(int) - sound).max() <= 2
    for _ in range(1200):
        after = left_behind(server)
        grown = {name: count for name, count in after.items() if count > before[name]}
        if not grown:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"left behind: {grown}")


@pytest.fixture
def dial() -> Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """A websocket of xyt.v1 whose frames are left to the test, its handshake done."""

    async def dial(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xyt.v1\r\n\r\n"
        )
        assert b" 101 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 120)
        return reader, writer

    return dial
