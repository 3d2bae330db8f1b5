"""The sound of a Realtime client where the model is slower than real time, on a clock that the
test moves.
"""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from test_input_buffer import FRAME, LIVE, MANUAL, Setup

from xyt_stream.server.realtime.live_queue import LiveQueue
from xyt_stream.server.sessions.lateness import Lateness

SECONDS = FRAME / 16_000
SLOWER = 3  # times real time


class SlowSetup(Setup):
    """Frames are numbered by their level; the model gets one when the test lets it."""

    def __init__(self, clock):
        super().__init__(clock)
        self.numbers = []
        self._steps = asyncio.Semaphore(0)

    async def _hear(self, frame):
        self.numbers.append(round(float(frame[-1]) * 100_000))
        await self._steps.acquire()

    async def talk(self, frames, first=0):
        """A microphone, in real time."""
        for number in range(first, first + frames):
            self.append(number, 1)
            await self.pass_time(1)

    def append(self, first, frames):
        levels = np.arange(first, first + frames) / 100_000
        self.buffer.append(np.repeat(levels, FRAME).astype(np.float32))

    async def pass_time(self, frames):
        for _ in range(frames):
            self.clock.now += SECONDS
            if round(self.clock.now / SECONDS) % SLOWER == 0:
                self._steps.release()
            for _ in range(60):
                await asyncio.sleep(0)


@pytest.fixture
async def slow(clock):
    setup = SlowSetup(clock)
    setup.configure(LIVE)
    yield setup
    setup.close()


async def test_a_microphone_is_heard_late_by_little_and_loses_the_oldest_sound(slow):
    behind = []
    for number in range(600):
        await slow.talk(1, number)
        behind.append(number - slow.numbers[-1])
    assert max(behind) * SECONDS < 1.5
    assert slow.numbers == sorted(slow.numbers)
    assert len(slow.numbers) + sum(slow.lost) == pytest.approx(600, abs=1.5 / SECONDS)
    assert sum(slow.lost) > 300


async def test_a_file_sent_at_once_is_heard_whole(slow):
    slow.append(0, 200)
    await slow.pass_time(SLOWER * 210)
    assert slow.numbers == list(range(200))
    assert slow.lost == []


async def test_a_file_sent_in_pieces_faster_than_real_time_is_heard_whole(slow):
    for number in range(0, 200, 10):
        slow.append(number, 10)
        await slow.pass_time(1)
    await slow.pass_time(SLOWER * 210)
    assert slow.numbers == list(range(200))
    assert slow.lost == []


async def test_without_turn_detection_nothing_is_lost(slow):
    slow.configure(MANUAL)
    await slow.talk(100)
    await slow.pass_time(SLOWER * 110)
    assert slow.numbers == list(range(100))
    assert slow.lost == []


async def test_a_microphone_after_a_file_has_the_bound_again(slow):
    slow.append(0, 50)
    await slow.talk(600, first=50)
    assert (649 - slow.numbers[-1]) * SECONDS < 1.5 + 50 * SECONDS


def test_a_file_of_tiny_chunks_takes_little_memory(clock):
    queue = LiveQueue(Lateness(clock))
    for _ in range(10 * FRAME):
        queue.push(np.zeros(1, np.float32))
    assert len(queue._arrivals) <= 10
    assert queue.clear() == 10 * FRAME
    assert not queue._arrivals
    assert not queue.is_late
