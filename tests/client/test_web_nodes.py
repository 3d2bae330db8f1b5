"""The page behind a proxy, in a real Chromium: its session moves from one server to another."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running
from xyt_stream.server.handover.peers import Peers

from ..server.proxy import Proxy
from .page import numbers_of

pytest.importorskip("playwright.async_api", reason="playwright is not installed")
pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = b"a secret of at least 16 bytes"


class NodeProxy(Proxy):
    """Sends a client to the node that its URL names, or else to `target`.

    Attributes:
        ports: of the nodes, by name.
        asked: the node that each connection named, or None.
        astray: connections that name a node are sent to `target` all the same, so many of them.
    """

    def __init__(self, port: int, **ports: int) -> None:
        super().__init__(port)
        self.ports = ports
        self.asked: list[str | None] = []
        self.astray = 0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            head = await reader.readuntil(b"\r\n\r\n")
            named = re.search(rb"[?&]node=([a-z]+)", head.partition(b"\r\n")[0])
            node = named[1].decode() if named else None
            if b"websocket" in head.lower():
                self.asked.append(node)
            port = self.ports.get(node or "", self.target)
            if node is not None and self.astray:
                self.astray -= 1
                port = self.target
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
            other_writer.write(head)
            self._writers |= {writer, other_writer}
            for source, target in ((reader, other_writer), (other_reader, writer)):
                task = asyncio.create_task(self._pass_on(source, target))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)


def is_whole(call):
    """Whether all media of a call came, each once and in order, over however many websockets."""
    media = [each for socket in call.sockets for each in socket]
    assert [each.seq for each in media] == list(range(len(media)))
    frames = numbers_of(media)
    assert frames == list(range(frames[0], frames[0] + len(frames)))


@pytest.fixture
def peers():
    return Peers([], SECRET)


async def test_a_call_moves_with_its_server_s_sessions(codec, open_page, peers):
    limits = Limits(load=0)
    async with (
        running(codec, max_sessions=2, limits=limits, node="a", peers=peers) as a,
        running(codec, max_sessions=2, limits=limits, node="b", peers=peers) as b,
        NodeProxy(a.port) as proxy,
    ):
        peers._urls.update(a=f"http://127.0.0.1:{a.port}", b=f"http://127.0.0.1:{b.port}")
        call = await open_page(proxy.url)
        await call.begin()
        await call.draws(10)
        proxy.target = b.port
        await asyncio.wait_for(a.handover.begin_drain(), 60)
        await call.says("The connection is back: the call goes on.")
        await call.draws(10)
        assert len(b.service.sessions()) == 1
        assert proxy.asked[-1] == "a"  # a proxy that knows better ignores it
        await call.hang_up()
        is_whole(call)


async def test_a_listener_that_is_sent_on_goes_to_its_room_s_node(codec, open_page, peers, direct):
    """The proxy leads it astray once: the node that it comes to says `moved`."""
    limits = Limits(load=0)
    async with (
        running(codec, max_sessions=2, limits=limits, node="a", peers=peers) as a,
        running(codec, max_sessions=2, limits=limits, node="b", peers=peers) as b,
        NodeProxy(a.port, a=a.port, b=b.port) as proxy,
        connect(a.url, "mic", room="pages", send="codes") as mic,
    ):
        peers._urls.update(a=f"http://127.0.0.1:{a.port}", b=f"http://127.0.0.1:{b.port}")
        enough = asyncio.Event()

        async def say():
            frame = 0
            while not enough.is_set():
                place = frame % direct.codes.shape[1]
                await mic.send_codes(direct.codes[:, place : place + 1])
                frame += 1
                await asyncio.sleep(0.08)

        saying = asyncio.create_task(say())
        call = await open_page(proxy.url)
        await call.page.get_by_role("radio", name="Room speaker").check()
        await call.page.get_by_label("Room", exact=True).fill("pages")
        await call.begin()
        await call.draws(5)
        proxy.target, proxy.astray = b.port, 1
        proxy.cut()
        await call.says("The connection is back: the call goes on.")
        await call.draws(5)
        assert proxy.asked == [None, "a", "a"]
        assert len(call.sockets) == 3
        assert not b.service.sessions()
        await call.hang_up()
        is_whole(call)
        enough.set()
        await saying
    drawn = np.array([codes for socket in range(3) for codes in call.codes(socket)])
    assert len(drawn) > 9
