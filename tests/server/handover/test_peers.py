"""Hostile and broken nodes: one owner, one line in the log, nothing left behind."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import numpy as np
import pytest
from websockets.asyncio.client import connect as raw_connect

from xyt_stream.client import connect
from xyt_stream.errors import HandoverError, ServeError
from xyt_stream.protocol.place import split_token
from xyt_stream.server.handover import message
from xyt_stream.server.handover.channel import SUBPROTOCOL, Commit, Refused, Take, Unit, open_taker
from xyt_stream.server.handover.peers import PATH, Peers
from xyt_stream.server.saved import SavedUnit
from xyt_stream.server.saved_arrays import Array, codes_of, values_of

from ..proxy import Proxy
from .test_handover import SECRET, nodes, speak  # noqa: F401 - a fixture


async def dial(port):
    return await raw_connect(
        f"ws://127.0.0.1:{port}{PATH}", subprotocols=[SUBPROTOCOL], max_size=1 << 27
    )


@pytest.fixture
async def waiting(nodes, clip, until):  # noqa: F811
    """A client's session that waits for it at the first node, and the client."""
    async with connect(nodes.url, "encode") as connection:
        await connection.send_pcm(clip[:9000])
        nodes.proxy.refuses = True
        nodes.proxy.cut()
        await until(lambda: any(each.suspended for each in nodes.a.service.sessions()))
        yield connection


async def goes_on(nodes, connection, clip, direct, hear):  # noqa: F811
    """The session goes on where it was, with identical codes."""
    nodes.proxy.refuses = False
    await connection.send_pcm(clip[9000:])
    await connection.end()
    np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)


async def test_a_wrong_secret_gets_nothing(nodes, waiting, clip, direct, hear, caplog):  # noqa: F811
    _, key = split_token(waiting.ready.resume.token)
    async with await dial(nodes.a.port) as websocket:
        with pytest.raises(HandoverError, match="secret"):
            await open_taker(websocket, b"another secret of 16 bytes", "b", 60)
    async with await dial(nodes.a.port) as websocket:
        channel = await open_taker(websocket, SECRET, "b", 60)
        channel._key = b"x" * 32
        with caplog.at_level(logging.WARNING):
            await channel.send(Take(key))
            with pytest.raises(HandoverError, match="lost"):
                await channel.receive(60)
    assert [each.getMessage() for each in caplog.records].count("handover failed") == 2
    await goes_on(nodes, waiting, clip, direct, hear)


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x81\xa1v\xff" * 9, "text"])
async def test_bytes_that_no_node_sends_end_the_connection(nodes, data):  # noqa: F811
    async with await dial(nodes.a.port) as websocket:
        await websocket.send(data)
        await asyncio.wait_for(websocket.wait_closed(), 60)
    assert nodes.a.service.readiness.why_not_ready() is None


async def test_recorded_messages_do_not_fit_again(nodes, waiting, clip, direct, hear):  # noqa: F811
    sent = []
    _, key = split_token(waiting.ready.resume.token)
    async with await dial(nodes.a.port) as websocket:
        send = websocket.send

        async def record(data):
            sent.append(data)
            await send(data)

        websocket.send = record
        channel = await open_taker(websocket, SECRET, "b", 60)
        await channel.send(Take(key))
        assert isinstance(await channel.receive(60), Unit)
        await channel.send(Refused("changed my mind"))
    async with await dial(nodes.a.port) as websocket:
        for data in sent[:2]:
            await websocket.send(data)
        await websocket.recv()  # the greeting
        await asyncio.wait_for(websocket.wait_closed(), 60)
    await goes_on(nodes, waiting, clip, direct, hear)


@pytest.mark.parametrize("dies", ["before it commits", "silently"])
async def test_a_node_that_dies_in_the_middle_leaves_the_session_where_it_was(
    nodes,  # noqa: F811
    waiting,
    clip,
    direct,
    hear,
    until,
    dies,
):
    _, key = split_token(waiting.ready.resume.token)
    websocket = await dial(nodes.a.port)
    channel = await open_taker(websocket, SECRET, "b", 60)
    await channel.send(Take(key))
    assert isinstance(await channel.receive(60), Unit)
    session = nodes.a.service.find(key)
    assert session.moving
    if dies == "before it commits":
        websocket.transport.abort()
    await until(lambda: not session.moving)
    if dies == "silently":  # what comes too late commits nothing
        with suppress(HandoverError):
            await channel.send(Commit())
        with pytest.raises(HandoverError):
            await channel.receive(60)
        await websocket.close()
    await goes_on(nodes, waiting, clip, direct, hear)
    await until(lambda: nodes.a.engine.free_slots == 6)


async def test_an_altered_state_is_refused_and_the_first_node_keeps_it(
    nodes,  # noqa: F811
    waiting,
    clip,
    direct,
    hear,
    until,
):
    """The proxy between the nodes changes one byte of the state."""

    class Altering(Proxy):
        changed = 0

        async def _pass_on(self, source, target):
            while data := await source.read(65_536):
                if len(data) > 20_000:
                    data = data[:15_000] + bytes([data[15_000] ^ 1]) + data[15_001:]
                    Altering.changed += 1
                target.write(data)
            target.close()

    async with Altering(nodes.a.port) as between:
        peers = nodes.b.handover.taker._peers
        good = peers._urls["a"]
        peers._urls["a"] = between.url.replace("ws:", "http:")
        _, key = split_token(waiting.ready.resume.token)
        await nodes.b.handover.taker.take("a", key, None)
        peers._urls["a"] = good
    assert Altering.changed
    assert nodes.b.service.find(key) is None
    assert nodes.b.engine.free_slots == 6
    await until(lambda: not nodes.a.service.find(key).moving)
    await goes_on(nodes, waiting, clip, direct, hear)


async def test_two_nodes_that_ask_at_once_do_not_both_get_it(nodes, waiting):  # noqa: F811
    _, key = split_token(waiting.ready.resume.token)
    first, second = await dial(nodes.a.port), await dial(nodes.a.port)
    one = await open_taker(first, SECRET, "b", 60)
    two = await open_taker(second, SECRET, "c", 60)
    await one.send(Take(key))
    assert isinstance(await one.receive(60), Unit)
    await two.send(Take(key))
    assert isinstance(await two.receive(60), Refused)
    await one.send(Commit())
    await one.receive(60)
    await first.close()
    await second.close()
    assert nodes.a.service.find(key) is None
    assert nodes.a.handover.giver.given[key] == "b"


UNIT = SavedUnit(model_hash="00", room=None, sessions=[])


def test_a_message_is_whole_or_refused():
    packed = message.pack(UNIT)
    assert message.unpack(packed) == UNIT
    for length in range(len(packed)):
        with pytest.raises(HandoverError):
            message.unpack(packed[:length])
    for place in range(len(packed)):
        with pytest.raises(HandoverError):
            message.unpack(packed[:place] + bytes([packed[place] ^ 64]) + packed[place + 1 :])
    with pytest.raises(HandoverError, match="too large"):
        message.unpack(bytes(message.MAX_BYTES + 1))


@pytest.mark.parametrize(
    "saved",
    [
        Array("float32", (2,), b"1234"),
        Array("float32", (-1,), b""),
        Array("object", (1,), b"12345678"),
        Array("int16", (2,), b"1234"),
        Array("float32", (1 << 40, 1 << 40), b""),
        Array("float32", (1,) * 99, b"1234"),
    ],
)
def test_an_array_has_the_bytes_that_its_shape_says(saved):
    with pytest.raises(HandoverError):
        values_of(saved, "float32", (None,))


@pytest.mark.parametrize("shape", [(1 << 40, 0), (0, 1 << 40), (0, 1 << 62)])
def test_an_array_without_values_has_no_endless_rows(shape):
    """They take no bytes, and each row would still become a frame that waits."""
    with pytest.raises(HandoverError):
        codes_of(Array("int64", shape, b""), None, None)
    assert codes_of(Array("int64", (0, 8), b""), None, None).shape == (0, 8)


async def test_sessions_of_one_room_are_taken_over_one_after_another(nodes, monkeypatch):  # noqa: F811
    taker = nodes.b.handover.taker
    at_once, most, go_on = 0, 0, asyncio.Event()

    async def follow(node, key):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if key == "first":
            await go_on.wait()
        for _ in range(10):  # others could begin meanwhile
            await asyncio.sleep(0)
        at_once -= 1

    monkeypatch.setattr(taker, "_follow", follow)
    tasks = [asyncio.create_task(taker.take("a", key, "r")) for key in ("first", "second")]
    await asyncio.sleep(0)
    go_on.set()
    await tasks[0]
    await asyncio.gather(*tasks, taker.take("a", "third", "r"))
    assert most == 1
    assert not taker._taking


@pytest.mark.parametrize("url", ["", "b", "b=", "b=x", "a.b=http://h", "b=ftp://h", "http://h"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ServeError, match="--peers"):
        Peers([url], SECRET)


def test_a_node_s_name_leads_to_known_hosts_only():
    peers = Peers(["http://{node}.xyt:8765", "b=https://other:1"], SECRET)
    assert peers.url("a") == f"ws://a.xyt:8765{PATH}"
    assert peers.url("b") == f"wss://other:1{PATH}"
    for name in ("evil.example/", "127", "a@b", ""):
        with pytest.raises(HandoverError):
            peers.url(name)
    with pytest.raises(ServeError, match="16 bytes"):
        Peers([], b"short")
