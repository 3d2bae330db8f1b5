"""Live sessions move from one server to another: what clients hear is the same to the bit."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import AsyncExitStack

import numpy as np
import pytest
from websockets.asyncio.client import connect as raw_connect

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.protocol.place import split_token
from xyt_stream.server.admission.access import Access, Token
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running
from xyt_stream.server.handover import units
from xyt_stream.server.handover.peers import Peers

from ..proxy import Proxy

SECRET = b"a secret of at least 16 bytes"


class Nodes:
    """Holds two servers and a proxy, which sends all clients to the first until a test switches it.

    Attributes:
        a, b: the servers.
        proxy: of the clients.
    """

    def __init__(self, a, b, proxy):
        self.a, self.b, self.proxy = a, b, proxy

    @property
    def url(self):
        return self.proxy.url

    def move(self):
        """Sends the first server's clients to the second."""
        self.proxy.target = self.b.port
        return self.a.handover.begin_drain()


@pytest.fixture
async def nodes(codec):
    ports = {}
    urls = Peers([], SECRET)
    limits = Limits(load=0)
    async with (
        running(codec, max_sessions=6, limits=limits, node="a", peers=urls) as a,
        running(codec, max_sessions=6, limits=limits, node="b", peers=urls) as b,
        Proxy(a.port) as proxy,
    ):
        ports.update(a=a.port, b=b.port)
        urls._urls.update({name: f"http://127.0.0.1:{port}" for name, port in ports.items()})
        yield Nodes(a, b, proxy)


async def speak(connection, pcm, size=400):
    """Sends sound in small pieces, as fast as it is taken."""
    for start in range(0, len(pcm), size):
        await connection.send_pcm(pcm[start : start + size])
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("rate", [None, 48_000, 44_100])
async def test_a_loopback_moves_in_the_middle_to_the_bit(nodes, clip, hear, rate, until):
    async def run(url, moves):
        async with connect(
            url, "loopback", receive=("pcm", "codes"), send_rate=rate, receive_rate=rate
        ) as connection:
            hearing = asyncio.create_task(hear(connection))
            await speak(connection, clip[:13_000])
            if moves:
                await asyncio.wait_for(nodes.move(), 60)
            await speak(connection, clip[13_000:])
            await connection.end()
            return await hearing

    alone = await run(nodes.b.url, False)
    moved = await run(nodes.url, True)
    np.testing.assert_array_equal(moved.codes, alone.codes)
    assert moved.code_frames == alone.code_frames
    np.testing.assert_array_equal(moved.sound, alone.sound)
    assert moved.notices == ["interrupted", "resumed"]
    await until(lambda: nodes.a.engine.free_slots == nodes.b.engine.free_slots == 6)


@pytest.mark.parametrize("size", [400, 40_000])
async def test_what_waits_moves_along(nodes, clip, direct, hear, size):
    """With large messages one is taken in half when the session moves."""
    async with connect(nodes.url, "encode") as connection:
        speaking = asyncio.create_task(speak(connection, clip, size))
        await asyncio.sleep(0)
        await asyncio.wait_for(nodes.move(), 60)
        await speaking
        await connection.end()
        heard = await hear(connection)
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert heard.code_frames == list(range(direct.codes.shape[1]))
    assert connection.ready.node == "a"


async def test_a_decoder_moves_to_the_bit(nodes, direct, hear):
    async def run(url, moves):
        async with connect(url, "decode") as connection:
            for frame in range(direct.codes.shape[1]):
                await connection.send_codes(direct.codes[:, frame : frame + 1])
                if moves and frame == 11:
                    await asyncio.wait_for(nodes.move(), 60)
            await connection.end()
            return await hear(connection)

    alone, moved = await run(nodes.b.url, False), await run(nodes.url, True)
    np.testing.assert_array_equal(moved.sound, alone.sound)


@pytest.mark.parametrize("sends", ["pcm", "codes"])
async def test_a_room_moves_whole(nodes, clip, direct, hear, until, sends):
    async with (
        connect(nodes.url, "speaker", room="r", receive=("codes",)) as reads,
        connect(nodes.url, "speaker", room="r", receive=("pcm", "codes")) as listens,
        connect(nodes.url, "mic", room="r", send=sends) as mic,
    ):
        hearing = [asyncio.create_task(hear(each)) for each in (reads, listens)]
        if sends == "pcm":
            await speak(mic, clip[:15_000])
            await asyncio.wait_for(nodes.move(), 60)
            await speak(mic, clip[15_000:])
        else:
            for frame in range(direct.codes.shape[1]):
                await mic.send_codes(direct.codes[:, frame : frame + 1])
                if frame == 10:
                    await asyncio.wait_for(nodes.move(), 60)
        await mic.end()
        for heard in await asyncio.gather(*hearing):
            np.testing.assert_array_equal(heard.codes, direct.codes)
            assert heard.code_frames == list(range(direct.codes.shape[1]))
        heard = await hearing[1]
        if sends == "pcm":
            assert len(heard.sound) == len(clip)
            assert np.abs(heard.sound.astype(int) - direct.sound).max() <= 2
    await until(lambda: not nodes.b.service.sessions())
    assert nodes.a.engine.free_slots == nodes.b.engine.free_slots == 6
    assert not nodes.a.service.sessions()


async def test_a_conversation_moves_with_its_model(nodes, clip, direct, hear):
    async with (
        connect(nodes.url, "model", room="r") as model,
        connect(nodes.url, "user", room="r", receive=("pcm", "codes")) as user,
    ):
        heard_by_model, heard_by_user = (asyncio.create_task(hear(each)) for each in (model, user))
        half = direct.codes.shape[1] // 2
        await model.send_codes(direct.codes[:, :half])
        await speak(user, clip[:15_000])
        await asyncio.wait_for(nodes.move(), 60)
        await model.send_codes(direct.codes[:, half:])
        await speak(user, clip[15_000:])
        await user.end()
        np.testing.assert_array_equal((await heard_by_model).codes, direct.codes)
        heard = await heard_by_user
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert len(heard.sound) % 1280 == 0


async def test_a_session_that_waits_for_its_client_is_found_at_its_node(
    nodes, clip, direct, hear, until
):
    async with connect(nodes.url, "encode") as connection:
        await connection.send_pcm(clip[:9000])
        nodes.proxy.refuses = True
        nodes.proxy.cut()
        await until(lambda: any(each.suspended for each in nodes.a.service.sessions()))
        nodes.move()
        nodes.proxy.refuses = False
        await connection.send_pcm(clip[9000:])
        await connection.end()
        np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)


async def test_a_session_moves_though_its_node_stays(nodes, clip, direct, hear):
    """A proxy may send a client elsewhere for its own reasons."""
    async with connect(nodes.url, "encode") as connection:
        for start in range(0, len(clip), 4000):
            nodes.proxy.target = (nodes.b if start % 8000 else nodes.a).port
            nodes.proxy.cut()
            await connection.send_pcm(clip[start : start + 4000])
            await asyncio.sleep(0.05)
        await connection.end()
        np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)


async def test_sessions_that_cannot_move_end_as_without_other_nodes(nodes, clip, direct, hear):
    async with connect(nodes.url, "encode", resume=0) as connection:
        await connection.send_pcm(clip)
        moving = nodes.move()
        with pytest.raises(ProtocolError) as caught:
            async for _ in connection:
                pass
        assert caught.value.name == "going_away"
        await asyncio.wait_for(moving, 60)


async def test_another_model_refuses_the_session_and_the_client_begins_anew(
    nodes, other_model, clip
):
    from xyt_stream import Codec

    urls = Peers([f"a=http://127.0.0.1:{nodes.a.port}"], SECRET)
    async with running(Codec.load(other_model), max_sessions=2, node="c", peers=urls) as other:
        async with connect(nodes.url, "encode") as connection:
            await connection.send_pcm(clip[:9000])
            nodes.proxy.target = other.port
            nodes.proxy.cut()
            with pytest.raises(ProtocolError) as caught:
                async for _ in connection:
                    pass
        assert caught.value.name == "cannot_resume"
        assert other.engine.free_slots == 2


async def post(port, *headers):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = ["POST /drain HTTP/1.1", "Host: localhost", "Content-Length: 0", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return int(answer.split()[1])


async def test_a_posted_drain_moves_sessions_and_the_server_stays(nodes, clip, direct, hear, until):
    async with connect(nodes.url, "encode") as connection:
        await speak(connection, clip[:9000])
        nodes.proxy.target = nodes.b.port
        assert await post(nodes.a.port) == 202
        await until(lambda: not nodes.a.service.sessions())
        assert nodes.a.service.readiness.why_not_ready() == "The server goes away"
        await speak(connection, clip[9000:])
        await connection.end()
        np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)


async def test_pages_proxies_and_lesser_tokens_cannot_drain(codec):
    access = Access([Token("all"), Token("some", frozenset({"mic"}))])
    proxies = ["127.0.0.1"]
    async with running(codec, max_sessions=1, access=access, proxies=proxies) as server:
        assert await post(server.port, "Origin: http://evil.example") == 403
        assert await post(server.port, "X-Forwarded-For: 127.0.0.1") == 403
        lesser = ("X-Forwarded-For: 192.0.2.1", "Authorization: Bearer some")
        assert await post(server.port, *lesser) == 403
        assert server.service.readiness.why_not_ready() is None
        allowed = ("X-Forwarded-For: 192.0.2.1", "Authorization: Bearer all")
        assert await post(server.port, *allowed) == 202
        assert server.service.readiness.why_not_ready() is not None


async def test_a_member_of_a_room_is_sent_to_the_node_where_the_others_are(nodes):
    async with (
        connect(nodes.a.url, "mic", room="r"),
        connect(nodes.url, "speaker", room="r") as speaker,
    ):
        token = speaker.ready.resume.token
        async with raw_connect(nodes.b.url, subprotocols=[SUBPROTOCOL]) as websocket:
            hello = {"type": "hello", "role": "speaker", "room": "r", "resumable": True}
            await websocket.send(json.dumps({**hello, "resume": {"token": token}}))
            answer = json.loads(await asyncio.wait_for(websocket.recv(), 60))
        assert (answer["name"], answer["node"]) == ("moved", "a")
        assert len(nodes.a.service.sessions()) == 2
        assert not nodes.b.service.sessions()


async def test_an_error_at_one_attempt_to_resume_does_not_end_the_next(nodes, clip, direct, hear):
    """The server refuses the client at first; a later attempt finds the session."""
    resume, refusals = nodes.a.service.resume, []

    def refuse_once(*args):
        if not refusals:
            refusals.append(args)
            raise protocol_error("busy", retry_after=0.01)
        return resume(*args)

    nodes.a.service.resume = refuse_once
    async with connect(nodes.url, "encode") as connection:
        await connection.send_pcm(clip[:9000])
        nodes.proxy.cut()
        await connection.send_pcm(clip[9000:])
        await connection.end()
        np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)
    assert refusals


async def test_frames_that_wait_for_their_turn_move_along(direct):
    """A room's many listeners get a frame in turns; the last ones may still wait for it."""
    async with (
        running(None, node="a", peers=Peers([], SECRET)) as server,
        AsyncExitStack() as stack,
    ):
        mic = await stack.enter_async_context(connect(server.url, "mic", room="r", send="codes"))
        for _ in range(8):
            speaker = connect(server.url, "speaker", room="r", receive=("codes",))
            await stack.enter_async_context(speaker)
        _, key = split_token(mic.ready.resume.token)
        frozen = await units.freeze(server.service, server.service.find(key))
        fanout = server.service.rooms.get("r").default_fanout
        fanout._clock = itertools.count(0, 0.0006).__next__  # a turn lasts for one listener
        for index in range(4):
            fanout.on_codes(index, direct.codes[:, index])
        saved = await units.save(server.service, frozen)
        for each in frozen:
            each.close("moved")
        for session in saved.sessions:
            frames = [each.frame for each in session.send_queue.messages]
            assert frames == ([] if '"mic"' in session.hello else [0, 1, 2, 3])
