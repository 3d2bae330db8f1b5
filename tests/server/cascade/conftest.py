from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import numpy as np
import pytest

from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import Running, running
from xyt_stream.server.handover.peers import Peers

SECRET = b"a secret of at least 16 bytes"


class Nodes:
    """Servers that know each other, by their names.

    Attributes:
        peers: of each, whose addresses a test may change.
    """

    def __init__(self) -> None:
        self.servers: dict[str, Running] = {}
        self.peers: dict[str, Peers] = {}

    def __getitem__(self, name: str) -> Running:
        return self.servers[name]

    def url(self, name: str) -> str:
        return self.servers[name].url

    def figure(self, name: str, metric: str) -> float:
        """A figure of a node's metrics."""
        page = self.servers[name].service.metrics.page().decode()
        (line,) = [line for line in page.splitlines() if line.startswith(f"{metric} ")]
        return float(line.split()[-1])


@asynccontextmanager
async def several(codec, names="abc", secrets=None, duplex=None, **limits) -> AsyncIterator[Nodes]:
    """Servers that know each other."""
    nodes = Nodes()
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    urls = [f"{name}=http://127.0.0.1:{port}" for name, port in ports.items()]
    async with AsyncExitStack() as stack:
        for name, port in ports.items():
            nodes.peers[name] = Peers(urls, (secrets or {}).get(name, SECRET))
            nodes.servers[name] = await stack.enter_async_context(
                running(
                    codec,
                    port=port,
                    max_sessions=4,
                    limits=Limits(load=0, **limits),
                    node=name,
                    duplex=duplex,
                    peers=nodes.peers[name],
                )
            )
        yield nodes


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
async def relays():
    """Three nodes without a codec."""
    async with several(None) as nodes:
        yield nodes


@pytest.fixture
def codes():
    return np.random.default_rng(5).integers(0, 1024, (8, 60))


@pytest.fixture
def say():
    """Sends codes frame by frame."""

    async def say(mic, codes, pause=0.002):
        for frame in range(codes.shape[1]):
            await mic.send_codes(codes[:, frame : frame + 1])
            await asyncio.sleep(pause)

    return say
