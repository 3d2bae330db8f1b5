"""A node is killed: its sessions begin anew elsewhere by themselves, and the others are unmoved."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import AsyncExitStack

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.client.live import live
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Notice

from ..client.page import OpenPage, chromium
from ..cluster_process import cluster_process

_FRAME = 1280  # samples


class Member:
    """A client as the commands `mic`, `play` and `loopback` are one.

    Attributes:
        arrivals: times at which media came.
        restarts: how often it began anew.
    """

    def __init__(self, connection):
        self.connection = connection
        self.arrivals, self.restarts = [], 0

    async def hear(self):
        async for event in self.connection:
            if isinstance(event, Pcm | Codes):
                self.arrivals.append(time.monotonic())
            elif isinstance(event, Notice):
                self.restarts += event.name == "restarted"

    def after(self, moment):
        """Seconds from a moment until media came again; None: not yet."""
        return next((each - moment for each in self.arrivals if each > moment + 0.1), None)


async def speak(connection, clip, done):
    for start in range(0, 1 << 40, _FRAME):
        if done.is_set():
            return
        await connection.send_pcm(np.take(clip, np.arange(start, start + _FRAME), mode="wrap"))
        await asyncio.sleep(0.08)


@pytest.mark.slow
async def test_sessions_of_a_killed_node_begin_anew(clip, direct, hear, until):
    """Those of the commands and of the client library's `live`, which the commands use."""
    done = asyncio.Event()
    with cluster_process("--nodes", "3", "--max-sessions", "16", "--max-load", "0") as cluster:
        async with AsyncExitStack() as stack:

            async def join(*args, **options):
                return await stack.enter_async_context(live(cluster.url, *args, **options))

            members = {
                "speaker": Member(await join("speaker", room="r", receive=("codes",))),
                "mic": Member(await join("mic", room="r")),
                **{f"loopback {n}": Member(await join("loopback")) for n in range(6)},
            }
            others = []
            node = members["mic"].connection.ready.node
            while len(others) < 2:
                each = await stack.enter_async_context(connect(cluster.url, "encode"))
                if each.ready.node != node:
                    others.append(each)
                    await each.send_pcm(clip[:16_000])
            hearing = [asyncio.create_task(each.hear()) for each in members.values()]
            speaking = [
                asyncio.create_task(speak(each.connection, clip, done))
                for name, each in members.items()
                if name != "speaker"
            ]
            await until(lambda: all(len(members[n].arrivals) > 20 for n in members if n != "mic"))
            lost = {name for name, each in members.items() if each.connection.ready.node == node}
            killed = time.monotonic()
            cluster.send(node, signal.SIGKILL)
            heard = lost - {"mic"}
            await until(lambda: all(members[name].after(killed) for name in heard))
            assert all(members[name].restarts == 1 for name in lost)
            assert not any(members[name].restarts for name in members.keys() - lost)
            for each in others:
                await each.send_pcm(clip[16_000:])
                await each.end()
                found = await hear(each)
                np.testing.assert_array_equal(found.codes, direct.codes)
                assert found.notices == []
            print({name: f"{members[name].after(killed):.2f} s" for name in heard})
            done.set()
            await asyncio.gather(*speaking)
            for each in members.values():
                await each.connection.end()
            await asyncio.wait_for(asyncio.gather(*hearing), 120)


@pytest.mark.slow
async def test_the_page_begins_anew_at_another_node(until):
    nodes, arrivals = [], []

    def note(websocket):
        def came(data):
            arrivals.append((len(nodes), time.monotonic()))
            if isinstance(data, str) and (message := json.loads(data)).get("type") == "ready":
                nodes.append(message["node"])

        websocket.on("framereceived", came)

    options = ("--max-sessions", "4", "--max-load", "0")
    with cluster_process("--nodes", "2", *options) as cluster:
        async with chromium(
            "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"
        ) as browser:
            call = await OpenPage.open(browser, cluster.url)
            call.page.on("websocket", note)
            await call.begin()
            await call.draws(10)
            killed = time.monotonic()
            cluster.send(nodes[0], signal.SIGKILL)
            await call.says("a new call has begun")
            await call.draws(5)
            again = next(moment for number, moment in arrivals if number > 1)
            print(f"the page: {again - killed:.2f} s")
            assert nodes[-1] != nodes[0]
            await call.hang_up()
