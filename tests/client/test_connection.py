"""Tests the client API on real sockets."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from websockets.asyncio.server import serve

from xyt_stream.client import connect, handshake
from xyt_stream.errors import AudioError, ConnectionFailedError, ProtocolError
from xyt_stream.protocol.messages import MAX_MESSAGE, SUBPROTOCOL, End
from xyt_stream.protocol.server_machine import ServerMachine


async def refused(url, role="loopback", **options):
    async with connect(url, role, **options):
        pass


async def test_unreachable_server_is_one_sentence():
    listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    with pytest.raises(
        ConnectionFailedError, match=f"cannot reach a server at ws://127.0.0.1:{port}"
    ):
        await refused(f"ws://127.0.0.1:{port}")


@pytest.mark.parametrize("url", ["localhost:8765", "http://localhost", "ws://", "", "ws://[::"])
async def test_invalid_address_is_one_sentence(url):
    with pytest.raises(ConnectionFailedError, match="cannot reach a server"):
        await refused(url)


async def test_http_address_is_answered_with_the_ws_address():
    with pytest.raises(ConnectionFailedError, match=r"give an address like ws://"):
        await refused("http://127.0.0.1:8765/")


async def test_server_of_another_protocol_is_one_sentence():
    async def answer(reader, writer):
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionFailedError, match="cannot reach a server"):
            await refused(f"ws://127.0.0.1:{port}")


async def test_bad_hello_is_refused_before_connecting():
    with pytest.raises(ProtocolError) as caught:
        await refused("ws://127.0.0.1:9", "singer")
    assert caught.value.name == "unknown_role"


async def test_float_sound_equals_16_bit_sound(server, clip, direct, hear):
    async with connect(server.url, "encode") as connection:
        await connection.send_pcm(clip.astype(np.float64) / 32_768)
        await connection.end()
        np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)


async def test_long_sound_is_split_into_messages(server, hear):
    samples = MAX_MESSAGE + 1  # twice as many bytes
    async with connect(server.url, "encode", send_rate=48_000) as connection:
        await connection.send_pcm(np.zeros(samples, np.int16))
        await connection.end()
        assert (await hear(connection)).codes.shape[1] == -(-samples // (3 * 1280))


@pytest.mark.parametrize(
    "samples",
    [np.array([0.0, np.nan]), np.array([np.inf]), np.zeros((2, 2)), np.zeros(3, np.int32)],
)
async def test_invalid_sound_is_not_sent(server, clip, direct, hear, samples):
    async with connect(server.url, "encode") as connection:
        with pytest.raises(AudioError):
            await connection.send_pcm(samples)
        await connection.send_pcm(clip)
        await connection.end()
        np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)


async def test_many_frames_are_split_into_messages(server, codec):
    """An hour of codes; the receiver here decodes nothing, so the test is quick."""
    codes = np.random.default_rng(0).integers(0, 1024, (8, 45_000))
    taken = []

    async def take(websocket):
        machine = ServerMachine()
        machine.receive(await websocket.recv())
        await websocket.send(machine.ready(ready))
        while not isinstance(message := machine.receive(await websocket.recv()), End):
            taken.append(message)
        await websocket.send(machine.end(End()))

    async with connect(server.url, "decode") as connection:
        ready = connection.ready
    async with serve(
        take, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL], max_size=MAX_MESSAGE
    ) as other:
        port = other.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", "decode") as connection:
            await connection.send_codes(codes)
            await connection.end()
            assert [event async for event in connection] == [End()]
    np.testing.assert_array_equal(
        np.concatenate([message.codes for message in taken], axis=1), codes
    )
    lengths = [message.codes.shape[1] for message in taken]
    assert [message.frame for message in taken] == [0, *np.cumsum(lengths[:-1])]


async def test_leaving_the_block_closes_at_once(server, clip, until):
    async def leave():
        async with connect(server.url, "loopback", receive=("pcm", "codes")) as connection:
            for _ in range(10):
                await connection.send_pcm(clip)

    await asyncio.wait_for(leave(), 9)  # websockets itself would wait for 10 s
    await until(lambda: server.engine.free_slots == server.engine.slots)


async def test_close_wakes_waiting_calls_with_an_error(server):
    async def listen():
        async for _ in connection:
            pass

    async with connect(server.url, "loopback") as connection:
        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
    with pytest.raises(ProtocolError, match="closed here"):
        await asyncio.wait_for(listening, 120)
    for late in (connection.send_pcm(np.zeros(9, np.int16)), connection.end(), connection.ping(1)):
        with pytest.raises(ProtocolError, match="closed here"):
            await asyncio.wait_for(late, 120)


async def test_silent_server_is_one_sentence(monkeypatch):
    monkeypatch.setattr(handshake, "_OPEN_TIMEOUT", 0.5)

    async def ignore(websocket):
        async for _ in websocket:
            pass

    async with serve(ignore, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as mute:
        port = mute.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionFailedError, match=r"the server at .* does not answer"):
            await asyncio.wait_for(refused(f"ws://127.0.0.1:{port}"), 120)


async def test_iteration_stops_at_end(server):
    async with connect(server.url, "speaker", room="a") as connection:
        await connection.end()
        assert [type(event) for event in [event async for event in connection]] == [End]
