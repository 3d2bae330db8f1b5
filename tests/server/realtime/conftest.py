from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from xyt_stream.audio import resample, to_float32, to_int16
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def talking(codec):
    """A server with a model of its own, which refuses no client because the machine is slow."""

    def talking(factory, **options):
        limits = Limits(load=0)
        return running(codec, **{"max_sessions": 4, "duplex": factory, "limits": limits, **options})

    return talking


@pytest.fixture
def sdk():
    """The OpenAI SDK's connection to a server."""

    @asynccontextmanager
    async def connect(server, token="any", **options):
        http = server.url.replace("ws", "http", 1)
        async with (
            AsyncOpenAI(
                api_key=token, base_url=f"{http}/v1", websocket_base_url=f"{server.url}/v1"
            ) as client,
            client.realtime.connect(model="whatever", **options) as connection,
        ):
            yield connection

    return connect


@pytest.fixture(scope="session")
def speech(clip):
    """The clip at 24 kHz, 16 bits."""
    return to_int16(resample(to_float32(clip), 16_000, 24_000))


@pytest.fixture
def until_free(until):
    """Waits until all slots of the server are free."""

    async def wait(server):
        await until(lambda: server.engine.free_slots == server.engine.slots)

    return wait
