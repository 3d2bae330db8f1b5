from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from xyt_stream.audio import Pcm16
from xyt_stream.client import Connection, connect
from xyt_stream.server.app import Running


@pytest.fixture
async def neighbour(
    server: Running,
    clip: Pcm16,
    direct: Any,
    hear: Callable[[Connection], Awaitable[Any]],
    until: Callable[[Callable[[], bool]], Awaitable[None]],
) -> AsyncIterator[None]:
    """A session that is in the middle of its sound while the test does what it does.

    Afterwards it must have heard exactly what it would have heard alone, and the server must have
    all its slots back.
    """
    half = len(clip) // 2
    async with connect(server.url, "loopback") as connection:
        await connection.send_pcm(clip[:half])
        yield
        await connection.send_pcm(clip[half:])
        await connection.end()
        heard = await hear(connection)
    assert len(heard.sound) == len(clip)
    assert np.abs(heard.sound.astype(int) - direct.sound).max() <= 1
    await until(lambda: server.engine.free_slots == server.engine.slots)
