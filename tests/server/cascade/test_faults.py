"""Tests what speakers get when nodes die, stall, lie or lack the secret, and that others go on."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, suppress

import msgspec
import numpy as np
import pytest
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import ConnectionClosed

from xyt_stream.client import connect
from xyt_stream.client.live import RESTARTED, live
from xyt_stream.errors import HandoverError, ProtocolError
from xyt_stream.protocol.machine import Codes
from xyt_stream.protocol.messages import Notice
from xyt_stream.server.cascade import subscription
from xyt_stream.server.cascade.wire import (
    MAX_BYTES,
    PATH,
    ROOMS,
    SUBPROTOCOL,
    Batch,
    Frame,
    Has,
    Listeners,
    Over,
    Start,
    Stop,
    Unwant,
    Want,
)
from xyt_stream.server.handover.channel import HANDOVER, Take, open_giver, open_taker
from xyt_stream.server.handover.peers import PATH as HANDOVER_PATH

from ..proxy import Proxy
from .conftest import SECRET, several
from .test_rooms import C, joined, same


@pytest.fixture
async def between(relays):
    """A network between the first node, which has the mic, and the second."""
    async with Proxy(relays["a"].port) as proxy:
        relays.peers["b"]._urls["a"] = proxy.url.replace("ws:", "http:")
        yield proxy


async def came(nodes, name, frames):
    """Waits until so many frames have come to a node, or are known to be lost."""
    figures = [f'xyt_subscribed_frames_total{{direction="{each}"}}' for each in ("in", "lost")]
    for _ in range(6000):
        if sum(nodes.figure(name, each) for each in figures) >= frames:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("frames are missing")


async def dial(port, path=PATH, subprotocol=SUBPROTOCOL):
    return await raw_connect(f"ws://127.0.0.1:{port}{path}", subprotocols=[subprotocol])


@pytest.fixture
def patient(monkeypatch):
    """Speakers wait for their mic's node for as long as a busy machine takes."""
    monkeypatch.setattr(subscription, "_LOST_TIME", 60.0)


async def test_a_connection_between_nodes_that_breaks_loses_nothing(
    relays, between, codes, hear, say, patient
):
    async with (
        connect(relays.url("b"), "speaker", room="r", **C) as speaker,
        connect(relays.url("c"), "speaker", room="r", **C) as unmoved,
        connect(relays.url("a"), "mic", room="r", send="codes") as mic,
    ):
        await joined(relays, "b")
        await joined(relays, "c")
        await say(mic, codes[:, :20])
        for start in (20, 40):
            between.cut()
            await say(mic, codes[:, start : start + 20])
        await came(relays, "b", 60)
        await mic.end()
        same(await hear(speaker), codes)
        same(await hear(unmoved), codes)
        assert relays.figure("b", 'xyt_subscribed_frames_total{direction="lost"}') == 0


async def test_a_node_of_speakers_that_dies_is_forgotten(codes, hear, say, until):
    """Its speakers are not counted any more, and those of other nodes hear all."""
    async with AsyncExitStack() as stack:
        nodes = await stack.enter_async_context(several(None))
        speaker = await stack.enter_async_context(connect(nodes.url("c"), "speaker", room="r", **C))
        mic = await stack.enter_async_context(
            connect(nodes.url("a"), "mic", room="r", send="codes")
        )
        rooms = nodes["a"].service.rooms
        async with await dial(nodes["a"].port) as websocket:
            channel = await open_taker(websocket, SECRET, "b", 60, ROOMS)
            start = [Want(1, "r"), Start(1, mic.ready.session, None), Listeners(1, 5)]
            await channel.send(Batch(start))
            await until(lambda: rooms.listeners("r") == 6)
            await say(mic, codes[:, :20])
            websocket.transport.abort()
        await until(lambda: rooms.listeners("r") == 1)
        await say(mic, codes[:, 20:])
        await mic.end()
        same(await hear(speaker), codes)


async def test_frames_beyond_those_that_are_kept_are_a_gap(
    relays, between, codes, say, until, patient
):
    many = np.concatenate([codes] * 5, axis=1)
    async with (
        connect(relays.url("b"), "speaker", room="r", **C) as speaker,
        connect(relays.url("a"), "mic", room="r", send="codes") as mic,
    ):
        await joined(relays, "b")
        await say(mic, many[:, :10])
        events = []

        async def listen():
            events.extend([event async for event in speaker])

        listening = asyncio.create_task(listen())
        await came(relays, "b", 10)
        between.refuses = True
        between.cut()
        await say(mic, many[:, 10:], 0)
        await mic.round_trip()
        between.refuses = False
        await came(relays, "b", 300)
        await mic.end()
        await asyncio.wait_for(listening, 60)
    found = [each for each in events if isinstance(each, Codes)]
    assert [each.gap for each in found].count(True) == 1
    lost = relays.figure("b", 'xyt_subscribed_frames_total{direction="lost"}')
    assert lost == 300 - sum(each.codes.shape[1] for each in found) > 0
    for each in found:  # numbered as at the mic's node
        wanted = many[:, each.frame : each.frame + each.codes.shape[1]]
        np.testing.assert_array_equal(each.codes, wanted)


async def test_speakers_whose_mic_s_node_dies_begin_anew_and_hear_the_next(
    relays, between, codes, say, until
):
    heard, restarted = [], asyncio.Event()

    async def listen(speaker):
        async for event in speaker:
            if isinstance(event, Codes):
                heard.append(event)
            elif isinstance(event, Notice) and event.name == RESTARTED:
                restarted.set()

    async with live(relays.url("b"), "speaker", room="r", receive=("codes",)) as speaker:
        listening = asyncio.create_task(listen(speaker))
        async with connect(relays.url("a"), "mic", room="r", send="codes") as mic:
            await joined(relays, "b")
            await say(mic, codes[:, :10])
            await until(lambda: sum(each.codes.shape[1] for each in heard) == 10)
            between.refuses = True
            between.cut()
            await asyncio.wait_for(restarted.wait(), 60)
        heard.clear()
        async with connect(relays.url("c"), "mic", room="r", send="codes") as mic:
            await joined(relays, "b")
            await say(mic, codes)
            await mic.end()
            await asyncio.wait_for(listening, 60)
    np.testing.assert_array_equal(np.concatenate([each.codes for each in heard], axis=1), codes)
    assert heard[0].frame == 0


async def test_a_mic_that_begins_anew_elsewhere_is_another_stream(
    relays, between, codes, hear, say
):
    async with connect(relays.url("b"), "speaker", room="r", **C) as speaker:
        async with connect(relays.url("a"), "mic", room="r", send="codes") as mic:
            await joined(relays, "b")
            await say(mic, codes[:, :10])
            async for event in speaker:
                if isinstance(event, Codes) and event.frame + event.codes.shape[1] == 10:
                    break
            between.refuses = True
            between.cut()
            async with connect(relays.url("c"), "mic", room="r", send="codes"):
                with pytest.raises(ProtocolError) as caught:
                    await hear(speaker)
        assert caught.value.name == "going_away"
        assert caught.value.retry_after is not None


async def test_a_wrong_secret_opens_no_room(codes, hear, say, caplog, until):
    secrets = {"b": b"another secret of 16 bytes"}
    async with (
        several(None, "ab", secrets) as nodes,
        connect(nodes.url("a"), "speaker", room="r", **C) as near,
        connect(nodes.url("b"), "speaker", room="r", **C) as far,
        connect(nodes.url("a"), "mic", room="r", send="codes") as mic,
    ):
        with caplog.at_level(logging.WARNING):
            await until(lambda: "node not reached" in caplog.messages)
        await say(mic, codes)
        await mic.end()
        same(await hear(near), codes)
        assert nodes.figure("b", "xyt_subscriptions_in") == 0
        assert nodes.figure("a", "xyt_subscriptions_out") == 0
        await far.close()
    assert caplog.messages.count("node not reached") <= 2  # one of each node


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x81\xa1v\xff" * 9, "text"])
async def test_bytes_that_no_node_sends_end_the_connection(relays, data):
    async with await dial(relays["a"].port) as websocket:
        await websocket.send(data)
        await asyncio.wait_for(websocket.wait_closed(), 60)
    assert relays["a"].service.readiness.why_not_ready() is None


async def test_one_kind_of_connection_does_not_open_the_other(relays):
    async with await dial(relays["a"].port) as websocket:
        with pytest.raises(HandoverError, match="secret"):
            await open_taker(websocket, SECRET, "b", 60, HANDOVER)
    async with await dial(relays["a"].port, HANDOVER_PATH, "xyt.handover.v1") as websocket:
        with pytest.raises(HandoverError, match="secret"):
            await open_taker(websocket, SECRET, "b", 60, ROOMS)


@pytest.mark.parametrize(
    "items",
    [
        [Start(7, "nothing", None)],
        [Stop(7), Unwant(7)],
        [Want(1, "r"), Want(1, "s"), Want(2, "s"), Start(1, "nothing", 0), Unwant(2)],
        [Frame(1, 0, b"x", "user")],
        [Over(1, 0, 16_000, "user")],
    ],
)
async def test_items_in_any_order_harm_nobody(relays, codes, hear, say, items):
    async with (
        connect(relays.url("a"), "speaker", room="r", **C) as speaker,
        connect(relays.url("a"), "mic", room="r", send="codes") as mic,
    ):
        async with await dial(relays["a"].port) as websocket:
            channel = await open_taker(websocket, SECRET, "b", 60, ROOMS)
            await channel.send(Batch(items))
            await channel.send(Batch([Want(9, "another")]))
        await say(mic, codes)
        await mic.end()
        same(await hear(speaker), codes)
    assert relays.figure("a", "xyt_subscriptions_out") == 0


async def greeted(port):
    """A connection to a node that has proved that it knows the secret, and one room asked for."""
    websocket = await dial(port)
    channel = await open_taker(websocket, SECRET, "b", 60, ROOMS)
    await channel.send(Batch([Want(1, "r")]))
    return websocket, channel


async def altered(websocket, channel, sent):
    await websocket.send(sent[:-1] + bytes([sent[-1] ^ 1]))


async def truncated(websocket, channel, sent):
    await websocket.send(sent[: len(sent) // 2])


async def replayed(websocket, channel, sent):
    await websocket.send(sent)


async def oversized(websocket, channel, sent):
    await websocket.send(bytes(MAX_BYTES + (1 << 16)))


async def of_another_direction(websocket, channel, sent):
    await websocket.send(await websocket.recv())


async def with_another_tag(websocket, channel, sent):
    await channel.send(Take("key"))


async def asking_too_much(websocket, channel, sent):
    await channel.send(Batch([Want(number, str(number)) for number in range(70_000)]))


async def lying_about_listeners(websocket, channel, sent):
    await channel.send(Batch([Listeners(1, -1)]))


async def dying(websocket, channel, sent):
    websocket.transport.abort()


ATTACKS = [
    altered,
    truncated,
    replayed,
    oversized,
    of_another_direction,
    with_another_tag,
    asking_too_much,
    lying_about_listeners,
    dying,
]


@pytest.mark.parametrize("attacks", [*([each] for each in ATTACKS), 4 * ATTACKS])
async def test_a_hostile_peer_costs_one_line_and_leaves_nothing(
    relays, codes, hear, say, caplog, until, attacks
):
    """Alone, and many at once, each of them a node that knows the secret, beside a real one."""

    async def attack(kind):
        websocket, channel = await greeted(relays["a"].port)
        sent = []
        send, websocket.send = websocket.send, lambda data: sent.append(data) or send(data)
        await channel.send(Batch([Want(1, "r"), Start(1, mic.ready.session, None)]))
        with suppress(ConnectionClosed):
            await kind(websocket, channel, sent[-1])
        await asyncio.wait_for(websocket.wait_closed(), 60)

    def lines():
        return caplog.messages.count("subscriber lost")

    async with (
        connect(relays.url("b"), "speaker", room="r", **C) as speaker,
        connect(relays.url("a"), "mic", room="r", send="codes") as mic,
    ):
        await joined(relays, "b")
        with caplog.at_level(logging.WARNING):
            await asyncio.gather(*map(attack, attacks))
            await until(lambda: lines() == len(attacks))
        await until(lambda: relays.figure("a", "xyt_subscriptions_out") == 1)
        await say(mic, codes)
        await mic.end()
        same(await hear(speaker), codes)
    assert lines() == len(attacks)
    assert "Traceback" not in caplog.text
    publisher = relays["a"].service.rooms.listeners_elsewhere.__self__
    await until(lambda: len(publisher._subscribers) == 1)


async def test_a_node_that_sends_too_much_is_hung_up_on(codes, hear, say, caplog, until):
    """It is not left waiting, and the others of its room hear on."""
    async with (
        several(None, "ab", client_messages=100.0) as nodes,
        connect(nodes.url("b"), "speaker", room="r", **C) as speaker,
        connect(nodes.url("a"), "mic", room="r", send="codes") as mic,
    ):
        await joined(nodes, "b")
        websocket, channel = await greeted(nodes["a"].port)
        with caplog.at_level(logging.WARNING), suppress(ConnectionClosed, HandoverError):
            for _ in range(1100):  # of 1000 at once
                await channel.send(Batch([Want(1, "s")]))
        await until(lambda: "subscriber lost" in caplog.messages)
        (line,) = [each for each in caplog.records if each.message == "subscriber lost"]
        assert "too much" in line.fields["reason"]
        await asyncio.wait_for(websocket.wait_closed(), 60)
        await say(mic, codes)
        await mic.end()
        same(await hear(speaker), codes)


async def test_many_strangers_cost_a_line_each_and_no_place(
    relays, codes, hear, say, caplog, until
):
    """They know no secret, or greet and say nothing more."""

    async def come(number):
        async with await dial(relays["a"].port) as websocket:
            if number % 2:
                with suppress(HandoverError):
                    await open_taker(websocket, b"another secret of 16 bytes", "b", 60, ROOMS)
            else:
                await open_taker(websocket, SECRET, "b", 60, ROOMS)

    async with (
        connect(relays.url("b"), "speaker", room="r", **C) as speaker,
        connect(relays.url("a"), "mic", room="r", send="codes") as mic,
    ):
        await joined(relays, "b")
        with caplog.at_level(logging.WARNING):
            for _ in range(5):
                await asyncio.gather(*map(come, range(10)))
            await until(lambda: caplog.messages.count("subscriber lost") == 50)
        await say(mic, codes)
        await mic.end()
        same(await hear(speaker), codes)
    assert "Traceback" not in caplog.text
    assert relays.figure("a", "xyt_subscriptions_out") == 0


async def test_an_authentic_node_s_message_of_another_kind_ends_the_connection(relays):
    async with await dial(relays["a"].port) as websocket:
        channel = await open_taker(websocket, SECRET, "b", 60, ROOMS)
        await channel.send(Take("key"))
        await asyncio.wait_for(websocket.wait_closed(), 60)


async def test_a_node_that_sends_no_frames_of_the_room_feeds_nobody(relays, until):
    """It knows the secret, and sends bytes that are none of the model's codes."""
    from websockets.asyncio.server import serve

    lied = asyncio.Event()

    async def lie(websocket):
        channel = await open_giver(websocket, SECRET, "a", 60, ROOMS)
        while True:
            batch = await channel.receive(60)
            for item in batch.items:
                if isinstance(item, Want):
                    model = relays["b"].service.resources.model
                    await channel.send(Batch([Has(item.number, "s", model, False, False)]))
                elif isinstance(item, Start):
                    await channel.send(Batch([Frame(item.number, 0, b"123", "user")]))
                    lied.set()

    async with serve(lie, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as liar:
        port = liar.sockets[0].getsockname()[1]
        relays.peers["b"]._urls["a"] = f"http://127.0.0.1:{port}"
        async with connect(relays.url("b"), "speaker", room="r", **C) as speaker:
            await asyncio.wait_for(lied.wait(), 60)
            await until(lambda: relays.figure("b", "xyt_subscriptions_in") == 0)
            assert await speaker.round_trip() is not None


def test_items_are_small():
    """A frame of the default model takes ten bytes and a few of its own."""
    assert len(msgspec.msgpack.encode(Frame(100, 1000, bytes(10), "user"))) <= 30
