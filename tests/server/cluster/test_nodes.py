"""Several servers behind one proxy: their names, and the clients that they send to others."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import InvalidStatus

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError, ServeError
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.protocol.place import own_name, placed
from xyt_stream.server.app import running

from ..proxy import Proxy


@pytest.fixture
async def node(codec):
    """A server with one slot that is one of several."""
    async with running(codec, max_sessions=1, node="a") as server:
        yield server


async def first_answer(url, **hello):
    async with raw_connect(url, subprotocols=[SUBPROTOCOL]) as websocket:
        await websocket.send(json.dumps({"type": "hello", **hello}))
        return json.loads(await asyncio.wait_for(websocket.recv(), 60))


def requested(server):
    """Collects the queries of the websockets that a server opens."""
    seen, turns_away = [], server.service.readiness.turns_away

    def note(place):
        seen.append((place.room, place.node))
        return turns_away(place)

    server.service.readiness.turns_away = note
    return seen


async def test_clients_put_the_room_and_their_node_into_the_url(node, clip, direct, hear, until):
    seen = requested(node)
    async with (
        Proxy(node.port) as proxy,
        connect(proxy.url, "speaker", room="a b") as speaker,
        connect(proxy.url, "encode") as connection,
    ):
        await connection.send_pcm(clip[:16_000])
        proxy.cut()
        await connection.send_pcm(clip[16_000:])
        await connection.end()
        heard = await hear(connection)
        await until(lambda: {("a b", "a"), (None, "a")} <= set(seen))
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert speaker.ready.node == "a"
    assert seen[:2] == [("a b", None), (None, None)]


async def test_a_room_in_the_url_must_be_that_of_the_hello(node):
    answer = await first_answer(f"{node.url}/?room=hall", role="speaker", room="kitchen")
    assert (answer["type"], answer["name"]) == ("error", "bad_message")
    answer = await first_answer(f"{node.url}/?room=kitchen", role="speaker", room="kitchen")
    assert answer["type"] == "ready"


async def test_a_full_node_sends_clients_to_another_before_the_websocket_opens(node):
    async with connect(node.url, "loopback") as first:
        with pytest.raises(InvalidStatus) as caught:
            await raw_connect(node.url, subprotocols=[SUBPROTOCOL])
        response = caught.value.response
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        with pytest.raises(ProtocolError) as refused:
            async with connect(node.url, "loopback"):
                pass
        assert (refused.value.name, refused.value.retry_after) == ("busy", 5.0)
        # Rooms are in one place, and a session that is resumed has its slot already.
        async with connect(node.url, "speaker", room="a"):
            pass
        token = first.ready.resume.token
        assert token.startswith("a.")
        answer = await first_answer(
            f"{node.url}/?node=a", role="loopback", resume={"token": token}, resumable=True
        )
        assert answer["type"] == "ready"


async def test_a_server_alone_says_so_in_the_session_s_own_protocol(codec):
    async with running(codec, max_sessions=1) as server, connect(server.url, "loopback") as first:
        assert first.ready.node == own_name()
        answer = await first_answer(server.url, role="loopback")
        assert answer["name"] == "busy"


@pytest.mark.parametrize("name", ["", "a.b", "127", "a b", "x" * 64])
async def test_a_name_that_is_no_host_s_is_refused(codec, name):
    with pytest.raises(ServeError, match="name a node"):
        async with running(codec, max_sessions=1, node=name):
            pass


def test_the_query_of_a_url_is_what_proxies_read():
    """HAProxy and nginx decode %20 but may take + for itself."""
    url = placed("ws://host", "a b+c&d")
    assert "+" not in url
    assert parse_qs(urlsplit(url).query) == {"room": ["a b+c&d"]}
