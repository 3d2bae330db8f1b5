"""One stream through the engine: flow control, lengths, and the slot's return."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream.server.engine.engine import Engine
from xyt_stream.server.engine.slot_stream import Length, SlotStream
from xyt_stream.server.engine.slots import RING

FRAME = np.zeros(1280, np.float32)


class Listener:
    """Keeps all that it receives."""

    def __init__(self, wants_sound=True):
        self.wants_sound = wants_sound
        self.frames, self.codes = [], []
        self.tail = self.length = None
        self.has_failed = False

    def on_codes(self, index, codes):
        assert index == len(self.codes)
        self.codes.append(codes)

    def on_audio(self, frame):
        self.frames.append(frame)

    def on_end(self, tail, length):
        self.tail, self.length = tail, length

    def on_error(self):
        self.has_failed = True


@pytest.fixture
async def engine(codec):
    """Not started: a test starts it when frames may move."""
    engine = Engine(codec, 2)
    yield engine
    engine.stop()


async def test_a_full_ring_holds_the_sender_back(engine, until):
    listener = Listener()
    stream = SlotStream(engine, listener, from_codes=False)
    for _ in range(RING):
        await asyncio.wait_for(stream.push(FRAME), 120)
    waiting = asyncio.create_task(stream.push(FRAME))
    await asyncio.sleep(0)
    assert not waiting.done()
    engine.start()
    await asyncio.wait_for(waiting, 120)
    await stream.end(Length((RING + 1) * 1280, 16_000))
    await until(lambda: listener.length is not None)
    assert [frame.index for frame in listener.frames] == list(range(RING + 1))


async def test_sound_is_aligned_with_the_input(engine, until):
    engine.start()
    listener = Listener()
    stream = SlotStream(engine, listener, from_codes=False)
    for _ in range(3):
        await stream.push(FRAME)
    await stream.end(Length(3 * 1280 + 5, 16_000), 1, FRAME)
    await until(lambda: listener.length is not None)
    delay = engine.delay_samples
    assert [frame.start for frame in listener.frames] == [0, *(n * 1280 - delay for n in (1, 2, 3))]
    assert [len(frame.samples) for frame in listener.frames] == [1280 - delay, 1280, 1280, 1280]
    assert len(listener.tail) == delay
    assert listener.frames[-1].length == listener.length == Length(3845, 16_000)
    assert listener.length.at(8_000) == 1923
    assert engine.free_slots == 2


async def test_decoding_can_start_later(engine, until):
    engine.start()
    listener = Listener(wants_sound=False)
    stream = SlotStream(engine, listener, from_codes=False)
    await stream.push(FRAME)
    await until(lambda: len(listener.codes) == 1)
    listener.wants_sound = True
    stream.update_decoding()
    await stream.push(FRAME)
    await until(lambda: len(listener.codes) == 2)
    assert [len(frame.samples) for frame in listener.frames] == [1280 - engine.delay_samples]
    assert listener.frames[0].start == 1280
    stream.close()


async def test_an_early_end_keeps_all_whole_frames(engine, until):
    listener = Listener()
    stream = SlotStream(engine, listener, from_codes=False)
    for _ in range(3):
        await stream.push(FRAME)
    stream.end_early()
    engine.start()
    await until(lambda: listener.length is not None)
    assert len(listener.frames) == 3
    assert listener.length == Length(3 * 1280, 16_000)
    assert engine.free_slots == 2
    stream.end_early()
    stream.close()
    assert engine.free_slots == 2


async def test_a_device_fault_frees_the_slot_and_ends_waits(engine, until):
    listener = Listener()
    stream = SlotStream(engine, listener, from_codes=True)
    for _ in range(RING):
        await stream.push(np.full(8, 99_999))  # no caller lets this through
    waiting = asyncio.create_task(stream.push(np.zeros(8, np.int64)))
    engine.start()
    await until(lambda: listener.has_failed)
    await asyncio.wait_for(waiting, 120)
    assert listener.frames == []
    assert engine.free_slots == 2
