"""The queue of a client's messages, before a framer that takes them when the test lets it."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Ack, End
from xyt_stream.server.admission.limits import Pace
from xyt_stream.server.sessions.receive_queue import ReceiveQueue
from xyt_stream.server.sessions.send_queue import SendQueue

EMPTY = Pcm(0, np.zeros(0, np.int16))


class Framer:
    """Takes nothing before it is open."""

    def __init__(self):
        self.open = asyncio.Event()
        self.taken = []
        self.finished = False

    async def take(self, media):
        await self.open.wait()
        self.taken.append(media)

    async def finish(self):
        self.finished = True


@pytest.fixture
async def framer():
    return Framer()


@pytest.fixture
def make(framer):
    """Makes queues, and takes in what is put into them."""
    tasks = []

    def make(send_queue=None, *, acknowledges=True):
        send_queue = send_queue or SendQueue((), 16_000, 16_000, live=False, limit=8)
        pace = Pace(1e6)
        queue = ReceiveQueue(framer, send_queue, rate=16_000, pace=pace, acknowledges=acknowledges)
        tasks.append(asyncio.create_task(queue.run()))
        return queue

    yield make
    for task in tasks:
        task.cancel()


def fits(queue, message, size, seq):
    try:
        queue.put(message, size, seq)
    except ProtocolError as error:
        assert error.name == "not_allowed"  # noqa: PT017 - or it was put
        return False
    return True


def fill(queue, message, size):
    """Counts the messages that fit."""
    return next(count for count in itertools.count() if not fits(queue, message, size, count))


async def test_twice_the_replay_buffer_fits_and_the_end(make, framer, until):
    queue = make()
    count = fill(queue, Pcm(0, np.zeros(4000, np.int16)), 8012)
    assert 2 << 20 <= count * (8012 + 256) < (2 << 20) + 2 * 8268
    queue.put(End(), 0, count)
    framer.open.set()
    await until(lambda: framer.finished)
    assert len(framer.taken) == count


async def test_empty_messages_do_not_fill_the_memory(make):
    """Each takes half a kilobyte of it."""
    assert fill(make(), EMPTY, 12) < 10_000


async def test_a_long_queue_lets_other_tasks_run(make, framer, until):
    queue = make()
    count = fill(queue, EMPTY, 12)
    framer.open.set()
    turns = 0
    while len(framer.taken) < count:
        await asyncio.sleep(0)
        turns += 1
    assert turns > count / 2


async def test_an_acknowledgement_is_due_after_16_messages(make, framer, until):
    queue = make()
    framer.open.set()
    for seq in range(16):
        assert queue.take_ack() is None
        queue.put(EMPTY, 12, seq)
        await until(lambda: not len(queue))
    assert queue.take_ack() == Ack(received=15)
    assert queue.take_ack() is None


async def test_without_acknowledgements_the_client_is_held_back(make, framer, until):
    queue = make(acknowledges=False)
    for _ in range(4):
        queue.put(EMPTY, 12, None)
    reading = asyncio.create_task(queue.drain())
    await asyncio.sleep(0)
    assert not reading.done()
    framer.open.set()
    await asyncio.wait_for(reading, 120)
    await until(lambda: not len(queue))
    assert queue.take_ack() is None


async def test_dropped_codes_never_reach_the_framer(make, framer, until):
    """Not even those whose turn it was, while a full send queue held them back."""
    send_queue = SendQueue(("codes",), 16_000, 16_000, live=False, limit=1)
    send_queue.on_codes(0, np.zeros(8, np.int64))
    queue = make(send_queue)
    framer.open.set()
    for seq in range(3):
        queue.put(Codes(seq, np.ones((8, 2), np.int64)), 32, seq)
    for _ in range(10):
        await asyncio.sleep(0)
    assert queue.drop_codes() == 6
    send_queue.take()
    await until(lambda: not len(queue))
    assert [media.codes.size for media in framer.taken] == [0, 0, 0]
