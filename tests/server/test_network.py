"""A server and its client on two hosts survive faults of the network between them.

The client runs on its host in a thread and an event loop of its own. The neighbour is on the
server's host.
"""

from __future__ import annotations

import asyncio
import random
import time

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from .hosts import two_hosts


@pytest.fixture
def hosts():
    with two_hosts() as hosts:
        yield hosts


@pytest.fixture
async def server(hosts, codec):
    limits = Limits(keepalive=3.0, load=0)
    with hosts[0].inside():
        host = hosts[0].address
        async with running(codec, host=host, public=True, max_sessions=4, limits=limits) as server:
            yield server


class Caller:
    """A client on another host that speaks a clip in real time, and all that it hears."""

    def __init__(self, host, url, clip, hear, role="encode", **options):
        self.spoken = 0  # samples
        self._work = asyncio.create_task(
            asyncio.to_thread(self._run, host, lambda: self._call(url, clip, hear, role, options))
        )

    async def heard(self):
        return await self._work

    def _run(self, host, call):
        with host.inside():
            return asyncio.run(call())

    async def _call(self, url, clip, hear, role, options):
        async with connect(url, role, **options) as connection:
            speaking = asyncio.create_task(self._speak(connection, clip))
            heard = await hear(connection)
            await speaking
            return heard

    async def _speak(self, connection, clip):
        for start in range(0, len(clip), 320):
            await connection.send_pcm(clip[start : start + 320])
            self.spoken = start
            await asyncio.sleep(320 / 16_000)
        await connection.end()


def is_suspended(server):
    """Whether the server has noticed that the client is gone."""
    server.service.check(time.monotonic())
    return server.service.metrics.suspended._value.get() == 1


def assert_unbroken(heard, direct):
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert heard.code_frames == list(range(direct.codes.shape[1]))


@pytest.mark.usefixtures("neighbour")
async def test_a_pulled_cable_is_survived(hosts, server, clip, direct, hear, until):
    """Packets just stop, without a close. The client notices, and reconnects."""
    _, elsewhere, cable = hosts
    caller = Caller(elsewhere, server.url, clip, hear, keepalive=0.5)
    await until(lambda: caller.spoken > 8000)
    cable.cut = True
    await until(lambda: is_suspended(server))
    cable.cut = False
    heard = await caller.heard()
    assert_unbroken(heard, direct)
    assert heard.notices.count("interrupted") == heard.notices.count("resumed") > 0
    assert cable.lost > 0


@pytest.mark.usefixtures("neighbour")
async def test_a_link_that_goes_down_is_survived(hosts, server, clip, direct, hear, until):
    """As with wireless networks: meanwhile the server is not even reachable."""
    _, elsewhere, _ = hosts
    caller = Caller(elsewhere, server.url, clip, hear, keepalive=0.5)
    await until(lambda: caller.spoken > 8000)
    elsewhere.plug("down")
    await until(lambda: is_suspended(server))
    elsewhere.plug("up")
    heard = await caller.heard()
    assert_unbroken(heard, direct)
    assert "resumed" in heard.notices


@pytest.mark.usefixtures("neighbour")
async def test_a_short_silence_is_not_noticed(hosts, server, clip, direct, hear, until):
    _, elsewhere, cable = hosts
    caller = Caller(elsewhere, server.url, clip, hear)
    await until(lambda: caller.spoken > 8000)
    cable.cut = True
    await asyncio.sleep(1.0)
    cable.cut = False
    heard = await caller.heard()
    assert_unbroken(heard, direct)
    assert heard.notices == []


@pytest.mark.usefixtures("neighbour")
async def test_late_and_lost_packets_change_nothing(hosts, server, clip, direct, hear):
    """One in twenty never arrives, and the others take 30 ms or much more."""
    _, elsewhere, cable = hosts
    rng = random.Random(5)
    cable.lateness = lambda: None if rng.random() < 0.05 else 0.03 + rng.expovariate(50)
    receive = ("pcm", "codes")
    caller = Caller(elsewhere, server.url, clip, hear, role="loopback", receive=receive)
    heard = await caller.heard()
    assert_unbroken(heard, direct)
    assert len(heard.sound) == len(clip)
    assert np.abs(heard.sound.astype(int) - direct.sound).max() <= 2
    assert cable.lost > 0
