"""Live sessions over real sockets: a session that the server no longer has begins anew."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream.client.live import RESTARTED, live
from xyt_stream.errors import ConnectionFailedError, ProtocolError
from xyt_stream.protocol.machine import Codes
from xyt_stream.protocol.messages import Notice
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from ..server.proxy import Proxy

FRAME = 1280  # samples


class Listener:
    """Everything that comes: all frames since the session began last, and all notices."""

    def __init__(self, connection):
        self.codes = []
        self.notices = []
        self.done = asyncio.create_task(self._listen(connection))

    async def _listen(self, connection):
        async for event in connection:
            if isinstance(event, Notice):
                self.notices.append(event.name)
                if event.name == RESTARTED:
                    self.codes.clear()
            elif isinstance(event, Codes):
                self.codes += event.codes.T.tolist()


async def forget(server, proxy, until):
    """The connection is lost, and comes back after the server has given up."""
    proxy.refuses = True
    proxy.cut()
    await until(lambda: server.engine.free_slots == server.engine.slots)
    proxy.refuses = False


@pytest.fixture(params=[0.0, 0.2], ids=["never resumes", "resumes for a moment"])
async def forgetful(codec, request):
    limits = Limits(resume_time=request.param, load=0)
    async with running(codec, max_sessions=1, limits=limits) as server, Proxy(server.port) as proxy:
        yield server, proxy


async def test_lost_session_is_replaced(forgetful, clip, direct, until):
    server, proxy = forgetful
    async with live(proxy.url, "loopback", receive=("codes",)) as connection:
        listener = Listener(connection)
        assert await connection.send_pcm(clip[: 3 * FRAME])
        await until(lambda: len(listener.codes) == 3)
        await forget(server, proxy, until)
        assert not await connection.send_pcm(clip[:FRAME])
        assert await connection.send_pcm(clip)
        await connection.end()
        await asyncio.wait_for(listener.done, 120)
    assert listener.notices == ["interrupted", "restarted"]
    np.testing.assert_array_equal(np.array(listener.codes).T, direct.codes)


async def test_kept_session_is_resumed(server, clip, direct, until):
    async with (
        Proxy(server.port) as proxy,
        live(proxy.url, "loopback", receive=("codes",)) as connection,
    ):
        listener = Listener(connection)
        assert await connection.send_pcm(clip[: 3 * FRAME])
        await until(lambda: len(listener.codes) == 3)
        proxy.cut()
        assert await connection.send_pcm(clip[3 * FRAME :])
        await connection.end()
        await asyncio.wait_for(listener.done, 120)
    assert listener.notices == ["interrupted", "resumed"]
    np.testing.assert_array_equal(np.array(listener.codes).T, direct.codes)


async def test_session_lost_after_end_raises(forgetful, clip, until):
    server, proxy = forgetful
    async with live(proxy.url, "loopback") as connection:
        proxy.delay = 3600  # so that nothing comes back in time
        await connection.send_pcm(clip)
        await connection.end()
        listener = Listener(connection)
        proxy.delay = 0
        await forget(server, proxy, until)
        with pytest.raises((ProtocolError, ConnectionFailedError)):
            await asyncio.wait_for(listener.done, 120)
    assert RESTARTED not in listener.notices


async def test_end_during_a_restart_ends_the_new_session(codec, until):
    limits = Limits(resume_time=0, load=0)
    async with (
        running(codec, limits=limits) as server,
        Proxy(server.port) as proxy,
        live(proxy.url, "loopback") as connection,
    ):
        listener = Listener(connection)
        proxy.refuses = True
        proxy.cut()
        await until(lambda: "interrupted" in listener.notices)
        await connection.end()
        proxy.refuses = False
        await asyncio.wait_for(listener.done, 120)
    assert listener.notices == ["interrupted", "restarted"]


async def test_restart_with_another_model_keeps_the_rate(codec, published, clip, until):
    """The first one is stopped as on Ctrl-C, and asks to come back in a moment."""
    async with running(codec, limits=Limits(load=0, drain_time=1)) as server:
        port = server.port
        connecting = live(server.url, "loopback", receive=("pcm", "codes"))
        connection = await connecting.__aenter__()
        listener = Listener(connection)
        await connection.send_pcm(clip[:FRAME])
        await until(lambda: len(listener.codes) == 1)
    async with running(published, port=port, limits=Limits(load=0)):
        await until(lambda: RESTARTED in listener.notices)
        ready = connection.ready
        assert (ready.model.output_rate, ready.receive_rate) == (24_000, 16_000)
        assert await connection.send_pcm(clip)
        await connection.end()
        await asyncio.wait_for(listener.done, 120)
        await connecting.__aexit__(None, None, None)
    assert listener.notices == ["interrupted", "restarted"]
    assert len(listener.codes) == -(-len(clip) // FRAME)
