"""Faults on real sockets: a neighbour's session must get exactly the sound that it gets alone.

The `neighbour` fixture checks that, and that the server holds nothing that it did not hold before.
"""

from __future__ import annotations

import asyncio
import json
import signal
import struct
import sys
from contextlib import suppress

import numpy as np
import pytest
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from xyt_stream.client import connect
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from .proxy import Proxy

HELLO = '{"type":"hello","role":"loopback"}'


@pytest.fixture
async def server(codec):
    """Lets anybody come as often as they like, however slow this machine is."""
    limits = Limits(address_joins=0, address_sessions=0, resume_time=0.5, load=0)
    async with running(codec, max_sessions=4, limits=limits) as server:
        yield server


TALKER = """
import asyncio, sys, numpy as np
from xyt_stream.client import connect
async def main():
    async with connect(sys.argv[1], "loopback") as connection:
        print("talking", flush=True)
        while True:
            await connection.send_pcm(np.zeros(60_000, np.int16))
asyncio.run(main())
"""


@pytest.mark.usefixtures("neighbour")
async def test_a_client_killed_in_the_middle_of_a_message(server, until):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", TALKER, server.url), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 120) == b"talking\n"
    await until(lambda: server.engine.timings.step_ms() is not None)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await until(lambda: server.engine.free_slots == 3)


@pytest.mark.usefixtures("neighbour")
async def test_half_a_message_does_no_harm(server, until):
    websocket = await raw_connect(server.url, subprotocols=[SUBPROTOCOL], compression=None)
    await websocket.send(HELLO)
    await websocket.recv()
    # A masked binary frame that promises 1000 bytes and holds 10.
    websocket.transport.write(bytes([0x82, 0xFE]) + struct.pack(">H", 1000) + bytes(14))
    await asyncio.sleep(0)
    websocket.transport.abort()
    await until(lambda: server.engine.free_slots == 3)


@pytest.mark.usefixtures("neighbour")
async def test_a_reader_that_freezes_is_held_back_and_loses_nothing(server, clip, hear, until):
    times = 6
    async with (
        Proxy(server.port) as proxy,
        connect(proxy.url, "loopback", receive_rate=48_000) as connection,
    ):
        proxy.flowing.clear()
        speaking = asyncio.create_task(connection.send_pcm(np.tile(clip, times)))
        await asyncio.sleep(0.5)  # whatever happens meanwhile: nothing passes
        proxy.flowing.set()
        listening = asyncio.create_task(hear(connection))
        await speaking
        await connection.end()
        assert len((await listening).sound) == 3 * times * len(clip)


@pytest.mark.usefixtures("neighbour")
async def test_single_byte_segments_are_read(server, clip, direct, hear):
    """One byte to a TCP segment, in both directions."""
    async with Proxy(server.port) as proxy:
        proxy.crumbs = 1
        async with connect(proxy.url, "encode") as connection:
            await connection.send_pcm(clip[: 3 * 1280])
            await connection.end()
            heard = await hear(connection)
    np.testing.assert_array_equal(heard.codes, direct.codes[:, :3])


@pytest.mark.usefixtures("neighbour")
async def test_a_slow_network_loses_nothing(server, clip, direct, hear):
    async with Proxy(server.port) as proxy:
        proxy.delay = 0.05
        async with connect(proxy.url, "encode") as connection:
            for start in range(0, len(clip), 4000):
                await connection.send_pcm(clip[start : start + 4000])
            await connection.end()
            np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)


async def come_and_vanish(url, number, media):
    """One client that goes without a word, at a stage of its own."""
    with suppress(OSError, ConnectionClosed, InvalidHandshake, asyncio.TimeoutError):
        websocket = await raw_connect(url, subprotocols=[SUBPROTOCOL], compression=None)
        try:
            resumable = json.dumps({"type": "hello", "role": "loopback", "resumable": True})
            for data in (resumable if number % 2 else HELLO, media, '{"type":"end"}')[: number % 4]:
                await websocket.send(data)
            if number % 3 == 0 and number % 4:
                await websocket.recv()
        finally:
            websocket.transport.abort()


@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize("count", [120, pytest.param(2000, marks=pytest.mark.slow)])
async def test_many_abrupt_connects_leave_nothing_behind(server, clip, until, count):
    media = struct.pack("<BBxxII", 1, 0, 0, 0) + clip[:3000].tobytes()
    for start in range(0, count, 20):
        await asyncio.gather(
            *(come_and_vanish(server.url, number, media) for number in range(start, start + 20))
        )
    await until(lambda: server.engine.free_slots == 3)
    await until(lambda: len(server.service._sessions) == 1)
    async with connect(server.url, "loopback"):
        assert server.engine.free_slots == 2


@pytest.mark.usefixtures("neighbour")
async def test_a_mic_that_vanishes_frees_its_room(server, clip, until):
    for _ in range(5):
        websocket = await raw_connect(server.url, subprotocols=[SUBPROTOCOL])
        await websocket.send('{"type":"hello","role":"mic","room":"a"}')
        await websocket.recv()
        await websocket.send(bytes([1]) + bytes(11) + clip[:5000].tobytes())
        websocket.transport.abort()
        await until(lambda: server.engine.free_slots == 3)
    assert not server.service.rooms._rooms


@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize("server", [Limits(load=0, resume_time=600)], indirect=True)
async def test_a_frozen_speaker_loses_the_oldest_and_the_mic_goes_on(server, clip, hear):
    times = 10  # it is frozen for as long as the machine takes for this much sound
    async with (
        Proxy(server.port) as proxy,
        connect(proxy.url, "speaker", room="a", receive_rate=48_000) as frozen,
        connect(server.url, "speaker", room="a", receive=("codes",)) as well,
        connect(server.url, "mic", room="a") as mic,
    ):
        proxy.flowing.clear()
        listening = asyncio.create_task(hear(well))
        await mic.send_pcm(np.tile(clip, times))
        await mic.end()
        heard = await listening
        proxy.flowing.set()
        late = await hear(frozen)
    assert heard.code_frames == list(range(-(-times * len(clip) // 1280)))
    assert "dropped" in late.notices
    assert 0 < len(late.sound) < 3 * times * len(clip)
    assert late.sound_frames == sorted(late.sound_frames)
    assert late.sound_frames[-1] == heard.code_frames[-1]
