"""What waits to be taken in, with an intake that takes it when it is let."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Pcm
from xyt_stream.protocol.messages import End
from xyt_stream.server.sessions.receive_queue import Inbox
from xyt_stream.server.sessions.send_queue import Outlet

EMPTY = Pcm(0, np.zeros(0, np.int16))


class Gate:
    """Takes nothing in before it is open."""

    def __init__(self):
        self.open = asyncio.Event()
        self.taken = 0
        self.finished = False

    async def take(self, media):
        await self.open.wait()
        self.taken += 1

    async def finish(self):
        self.finished = True


@pytest.fixture
async def gate():
    return Gate()


@pytest.fixture
async def inbox(gate):
    outlet = Outlet((), 16_000, 16_000, lossy=False, queue=8)
    inbox = Inbox(gate, outlet, rate=16_000, ahead=1e6, acknowledges=True)
    task = asyncio.create_task(inbox.take_in())
    yield inbox
    task.cancel()


def fits(inbox, message, size, seq):
    try:
        inbox.put(message, size, seq)
    except ProtocolError as error:
        assert error.name == "not_allowed"  # noqa: PT017 - or it was put
        return False
    return True


def fill(inbox, message, size):
    """How many of them fit."""
    return next(count for count in itertools.count() if not fits(inbox, message, size, count))


async def test_two_windows_fit_and_the_end(inbox, gate, until):
    sound = Pcm(0, np.zeros(4000, np.int16))
    count = fill(inbox, sound, 8012)
    assert 2 << 20 <= count * (8012 + 256) < (2 << 20) + 2 * 8268
    inbox.put(End(), 0, count)
    gate.open.set()
    await until(lambda: gate.finished)
    assert gate.taken == count


async def test_empty_messages_do_not_fill_the_memory(inbox):
    """Each takes half a kilobyte of it."""
    assert fill(inbox, EMPTY, 12) < 10_000


async def test_a_long_queue_of_little_holds_nobody_up(inbox, gate, until):
    count = fill(inbox, EMPTY, 12)
    gate.open.set()
    turns = 0
    while gate.taken < count:
        await asyncio.sleep(0)
        turns += 1
    assert turns > count / 2
