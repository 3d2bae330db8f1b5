"""Sessions that do not end by themselves are ended, on real sockets."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from contextlib import AsyncExitStack, suppress

import numpy as np
import pytest
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import ConnectionClosed

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from .proxy import Proxy


async def error_of(connection):
    with pytest.raises(ProtocolError) as caught:
        async for _ in connection:
            pass
    return caught.value


async def begun(url, role, **hello):
    """A websocket whose session has begun."""
    websocket = await raw_connect(url, subprotocols=[SUBPROTOCOL], compression=None)
    await websocket.send(json.dumps({"type": "hello", "role": role, **hello}))
    await websocket.recv()
    return websocket


async def read_all(websocket):
    with suppress(ConnectionClosed):
        while True:
            yield await asyncio.wait_for(websocket.recv(), 120)


async def test_idle_senders_are_ended_and_listeners_are_not(codec):
    async with running(codec, max_sessions=2, limits=Limits(idle_time=0.05)) as server:
        async with (
            connect(server.url, "speaker", room="a") as speaker,
            connect(server.url, "loopback") as silent,
        ):
            assert (await error_of(silent)).name == "idle"
            await speaker.ping(1)
            await anext(aiter(speaker))
        assert server.engine.free_slots == 2


async def test_session_time_ends_a_session(codec):
    async with (
        running(codec, max_sessions=1, limits=Limits(session_time=0.05)) as server,
        connect(server.url, "speaker", room="a") as speaker,
    ):
        assert (await error_of(speaker)).name == "time_over"


async def test_rooms_and_members_are_limited(codec):
    async with (
        running(codec, max_sessions=1, limits=Limits(rooms=1, members=2)) as server,
        connect(server.url, "speaker", room="a"),
        connect(server.url, "mic", room="a"),
    ):
        for room in ("a", "b"):
            with pytest.raises(ProtocolError) as caught:
                async with connect(server.url, "speaker", room=room):
                    pass
            assert caught.value.name == "room_full"


async def test_sessions_of_one_address_are_limited(codec, until):
    limits = Limits(address_sessions=2)
    async with running(codec, max_sessions=4, limits=limits) as server:
        async with connect(server.url, "encode"), connect(server.url, "speaker", room="a"):
            with pytest.raises(ProtocolError) as caught:
                async with connect(server.url, "encode"):
                    pass
            assert (caught.value.name, caught.value.retry_after) == ("too_many", 5)
        await until(lambda: server.engine.free_slots == 4)
        async with connect(server.url, "encode"):
            pass


async def test_busy_comes_with_retry_after(codec):
    async with running(codec, max_sessions=1) as server, connect(server.url, "encode"):
        with pytest.raises(ProtocolError) as caught:
            async with connect(server.url, "encode"):
                pass
        assert caught.value.name == "busy"
        assert caught.value.retry_after > 0


async def test_a_client_far_ahead_is_held_back_and_loses_nothing(codec, clip, hear):
    """One second of credit: two seconds of sound take one at least."""
    async with (
        running(codec, max_sessions=1, limits=Limits(ahead=1.0)) as server,
        connect(server.url, "encode") as connection,
    ):
        started = time.monotonic()
        for start in range(0, len(clip), 1280):
            await connection.send_pcm(clip[start : start + 1280])
        await connection.end()
        heard = await hear(connection)
        assert time.monotonic() - started >= len(clip) / 16_000 - 1.0
    assert heard.code_frames == list(range(26))


async def test_a_half_open_handshake_is_closed(codec):
    async with running(codec, max_sessions=1, limits=Limits(hello_time=0.2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nUpgr")
        assert await asyncio.wait_for(reader.read(), 120) == b""
        writer.close()


async def test_a_client_without_pongs_is_disconnected(codec, until):
    """Behind a network that swallows everything from now on."""
    limits = Limits(keepalive=2.0, resume_time=0, load=0)
    async with (
        running(codec, max_sessions=1, limits=limits) as server,
        Proxy(server.port) as proxy,
        connect(proxy.url, "loopback", resume=0, keepalive=None),
    ):
        assert server.engine.free_slots == 0
        proxy.flowing.clear()
        await until(lambda: server.engine.free_slots == 1)
        proxy.cut()


class Deaf:
    """A client that reads everything and, unlike a browser, never answers a ping."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.send(b'{"type":"hello","role":"loopback"}')

    def send(self, text):
        """One short text frame, masked with zeros."""
        assert len(text) < 126
        self.writer.write(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)

    async def all(self):
        """Everything that comes until the connection is gone."""
        with suppress(ConnectionResetError):
            return await asyncio.wait_for(self.reader.read(), 120)


async def test_a_browser_without_pongs_is_disconnected(codec, clip, direct, hear, until, dial):
    limits = Limits(keepalive=2.0, resume_time=0, load=0)
    async with running(codec, max_sessions=2, limits=limits) as server:
        deaf = Deaf(*await dial(server.port))
        async with connect(server.url, "encode") as connection:
            await connection.send_pcm(clip)
            said = await deaf.all()
            assert b"\x89\x04" in said  # a ping came
            assert said[-30:].find((1011).to_bytes(2, "big")) >= 0  # and then the close
            await until(lambda: server.engine.free_slots == 1)
            await connection.end()
            np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)
        deaf.writer.close()


async def test_the_client_notices_a_dead_network_and_resumes(codec, clip, direct, hear):
    async with (
        running(codec, max_sessions=1, limits=Limits(load=0)) as server,
        Proxy(server.port) as proxy,
        connect(proxy.url, "encode", keepalive=1.0) as connection,
    ):
        await connection.send_pcm(clip[:9999])
        proxy.flowing.clear()
        events = aiter(connection)
        seen = []
        while not seen or getattr(seen[-1], "name", None) != "interrupted":
            seen.append(await asyncio.wait_for(anext(events), 120))
        proxy.cut()
        proxy.flowing.set()
        await connection.send_pcm(clip[9999:])
        await connection.end()
        heard = await hear(connection)
    codes = [event.codes for event in seen if hasattr(event, "codes")]
    np.testing.assert_array_equal(np.concatenate([*codes, heard.codes], axis=1), direct.codes)


async def test_shutdown_sends_the_rest_and_retry_after(codec, clip):
    async with running(codec, max_sessions=2) as server:
        websocket = await begun(server.url, "encode")
        await websocket.send(bytes([1]) + bytes(11) + clip[: 7 * 1280 + 5].tobytes())
        messages = [await websocket.recv()]
        stopping = asyncio.create_task(server.service.drain())
        messages += [message async for message in read_all(websocket)]
        await stopping
        with pytest.raises(ProtocolError) as refused:
            async with connect(server.url, "encode"):
                pass
    # Behind a header of 12 bytes, a message has 10 bytes for each frame.
    assert sum((len(message) - 12) // 10 for message in messages[:-1]) == 7 + 1
    error = json.loads(messages[-1])
    assert (error["name"], websocket.close_code) == ("going_away", 1012)
    assert error["retry_after"] > 0
    assert refused.value.name == "busy"


async def test_shutdown_ends_within_drain_time(codec, clip):
    limits = Limits(drain_time=0.2)
    async with (
        running(codec, max_sessions=1, limits=limits) as server,
        Proxy(server.port) as proxy,
    ):
        _held = await begun(proxy.url, "loopback")
        proxy.flowing.clear()  # it reads no more
        await asyncio.wait_for(server.service.drain(), 120)
        proxy.cut()


async def test_sessions_not_done_by_then_are_ended_too(codec):
    """Four seconds of sound that may be taken in at real time only."""
    limits = Limits(drain_time=0.2, ahead=0.1, load=0)
    async with running(codec, max_sessions=1, limits=limits) as server:
        websocket = await begun(server.url, "encode")
        await websocket.send(bytes([1]) + bytes(11 + 128_000))
        await websocket.send('{"type":"ping","time":1}')
        await websocket.recv()  # by then all has been read
        reading = asyncio.create_task(last(websocket))
    error = json.loads(await reading)
    assert (error["name"], websocket.close_code) == ("going_away", 1012)
    assert error["retry_after"] > 0


async def last(websocket):
    return [message async for message in read_all(websocket)][-1]


async def test_a_flooding_client_does_not_spoil_the_shutdown_of_others(codec):
    limits = Limits(drain_time=0.2, ahead=0.1, load=0)
    async with running(codec, max_sessions=2, limits=limits) as server:
        greedy = await begun(server.url, "encode", resumable=True)
        for seq in range(11):  # just more than may be sent without an acknowledgement
            await greedy.send(struct.pack("<BBxxII", 1, 0, seq, 0) + bytes(200_000))
        await greedy.send('{"type":"ping","time":1}')
        while "pong" not in str(await asyncio.wait_for(greedy.recv(), 120)):
            pass  # by then all has been read
        other = await begun(server.url, "encode")
        reading = asyncio.create_task(last(other))
        greedily = asyncio.create_task(last(greedy))
    assert json.loads(await reading)["name"] == "going_away"
    assert json.loads(await greedily)["name"] == "going_away"


async def test_overload_refuses_new_and_then_ends_the_newest(codec):
    async with running(codec, max_sessions=3) as server:
        service = server.service
        async with connect(server.url, "encode") as old, connect(server.url, "encode") as new:
            # As after many steps that took longer than real time.
            slow = 16 * [(time.monotonic(), 0.1)]
            service.engine.timings.load._steps.extend(slow)
            service.check(time.monotonic())
            with pytest.raises(ProtocolError, match="overloaded") as caught:
                async with connect(server.url, "encode"):
                    pass
            assert caught.value.retry_after > 0
            for _ in range(4):
                service.check(time.monotonic())
            assert (await error_of(new)).name == "busy"
            # Long ago is over, although no step has come since.
            service.engine.timings.load._steps.extend(
                (when - 60, seconds) for when, seconds in slow
            )
            service.check(time.monotonic())
            await old.ping(1)
            await anext(aiter(old))
            async with connect(server.url, "encode"):
                pass


async def test_the_only_session_stays_whatever_the_load(codec, until):
    async with running(codec, max_sessions=3) as server:
        service = server.service
        async with connect(server.url, "encode") as alone:
            service.engine.timings.load._steps.extend(16 * [(time.monotonic(), 1.0)])
            for _ in range(20):
                service.check(time.monotonic())
            await alone.ping(1)
            pong = await anext(aiter(alone))
            assert pong.load == pytest.approx(12.5)
        await until(lambda: not service._sessions)
        async with connect(server.url, "encode"):  # it disturbs no other session
            pass


async def test_no_more_sessions_are_ended_than_do_not_fit(codec):
    async with running(codec, max_sessions=4) as server, AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connect(server.url, "encode")) for _ in range(4)]
        server.engine.timings.load._steps.extend(16 * [(time.monotonic(), 0.15)])
        for _ in range(5):
            server.service.check(time.monotonic())
        for shed in opened[2:]:
            assert (await error_of(shed)).name == "busy"
        for kept in opened[:2]:
            await kept.ping(1)
            await anext(aiter(kept))
