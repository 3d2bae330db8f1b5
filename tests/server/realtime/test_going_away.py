"""Conversations with a model of the server's own do not move: they end with one clear reason.

Their clients begin anew at another node at once.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from realtime_models import Mute, Stubborn
from websockets.exceptions import ConnectionClosed

from xyt_stream.client import connect
from xyt_stream.client.live import RESTARTED, live
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Pcm
from xyt_stream.protocol.messages import Notice
from xyt_stream.server.handover.peers import Peers

from ..proxy import Proxy

SECRET = b"a secret of at least 16 bytes"


@pytest.fixture
def two(talking):
    """Two nodes, and the proxy before them: `url` leads to the first until it goes away."""

    class Nodes:
        def __init__(self, a, b, proxy):
            self.a, self.b, self.proxy, self.url = a, b, proxy, proxy.url

        def go_away(self):
            self.proxy.target = self.b.port
            return self.a.handover.begin_drain()

    @asynccontextmanager
    async def two(factory):
        async with (
            talking(factory, node="a", peers=Peers([], SECRET)) as a,
            talking(factory, node="b", peers=Peers([], SECRET)) as b,
            Proxy(a.port) as proxy,
        ):
            yield Nodes(a, b, proxy)

    return two


async def test_a_realtime_client_sees_one_error_and_begins_anew(two, sdk, until_free):
    async with two(Mute) as nodes:
        async with sdk(nodes) as connection:
            assert (await connection.recv()).type == "session.created"
            going = nodes.go_away()
            event = await asyncio.wait_for(connection.recv(), 60)
            assert (event.type, event.error.type) == ("error", "server_error")
            assert event.error.code == "going_away"
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(connection.recv(), 60)
            assert caught.value.rcvd.code == 1012
        await asyncio.wait_for(going, 60)
        async with sdk(nodes) as connection:
            assert (await connection.recv()).type == "session.created"
            assert nodes.b.engine.free_slots < nodes.b.engine.slots
        await until_free(nodes.a)
        await until_free(nodes.b)


async def test_a_user_of_the_server_s_model_ends_and_is_told_to_come_back_at_once(two):
    async with two(Stubborn) as nodes, connect(nodes.url, "user") as user:
        going = nodes.go_away()
        with pytest.raises(ProtocolError) as caught:
            async for _ in user:
                pass
        assert caught.value.name == "going_away"
        assert 0 < caught.value.retry_after < 1
        await asyncio.wait_for(going, 60)


async def test_a_live_user_talks_on_with_the_model_of_another_node(two, clip, until):
    async with two(Stubborn) as nodes, live(nodes.url, "user") as user:
        restarted, heard = asyncio.Event(), []

        async def listen():
            async for event in user:
                if isinstance(event, Notice) and event.name == RESTARTED:
                    restarted.set()
                    heard.clear()
                elif isinstance(event, Pcm):
                    heard.append(event)

        listening = asyncio.create_task(listen())
        await user.send_pcm(clip)
        await until(lambda: len(heard) > 3)
        await asyncio.wait_for(nodes.go_away(), 60)
        await asyncio.wait_for(restarted.wait(), 60)
        assert user.ready.node == "b"
        await user.send_pcm(clip)
        await until(lambda: len(heard) > 3)
        await user.end()
        await asyncio.wait_for(listening, 60)
