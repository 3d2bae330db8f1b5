"""One stream through the engine: flow control, lengths, and the slot's return."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream.server.engine.engine import Engine
from xyt_stream.server.engine.slot_stream import Length, Voice
from xyt_stream.server.engine.slots import RING

FRAME = np.zeros(1280, np.float32)


class Listener:
    """Keeps what it hears."""

    def __init__(self, wants_sound=True):
        self.wants_sound = wants_sound
        self.frames, self.codes = [], []
        self.tail = self.length = None
        self.has_failed = False

    def read(self, index, codes):
        assert index == len(self.codes)
        self.codes.append(codes)

    def hear(self, sound):
        self.frames.append(sound)

    def over(self, tail, length):
        self.tail, self.length = tail, length

    def failed(self):
        self.has_failed = True


@pytest.fixture
async def engine(codec):
    """Not started: a test starts it when frames may move."""
    engine = Engine(codec, 2)
    yield engine
    engine.stop()


async def test_who_speaks_faster_than_the_engine_waits(engine, until):
    listener = Listener()
    voice = Voice(engine, listener, from_codes=False)
    for _ in range(RING):
        await asyncio.wait_for(voice.push(FRAME), 120)
    waiting = asyncio.create_task(voice.push(FRAME))
    await asyncio.sleep(0)
    assert not waiting.done()
    engine.start()
    await asyncio.wait_for(waiting, 120)
    await voice.finish(Length((RING + 1) * 1280, 16_000))
    await until(lambda: listener.length is not None)
    assert [frame.index for frame in listener.frames] == list(range(RING + 1))


async def test_sound_is_aligned_with_what_was_said(engine, until):
    engine.start()
    listener = Listener()
    voice = Voice(engine, listener, from_codes=False)
    for _ in range(3):
        await voice.push(FRAME)
    await voice.finish(Length(3 * 1280 + 5, 16_000), 1, FRAME)
    await until(lambda: listener.length is not None)
    delay = engine.delay_samples
    assert [frame.start for frame in listener.frames] == [0, *(n * 1280 - delay for n in (1, 2, 3))]
    assert [len(frame.samples) for frame in listener.frames] == [1280 - delay, 1280, 1280, 1280]
    assert len(listener.tail) == delay
    assert listener.frames[-1].length == listener.length == Length(3845, 16_000)
    assert listener.length.at(8_000) == 1923
    assert engine.free_slots == 2


async def test_sound_may_be_wanted_later(engine, until):
    engine.start()
    listener = Listener(wants_sound=False)
    voice = Voice(engine, listener, from_codes=False)
    await voice.push(FRAME)
    await until(lambda: len(listener.codes) == 1)
    listener.wants_sound = True
    voice.refresh()
    await voice.push(FRAME)
    await until(lambda: len(listener.codes) == 2)
    assert [len(frame.samples) for frame in listener.frames] == [1280 - engine.delay_samples]
    assert listener.frames[0].start == 1280
    voice.close()


async def test_broken_off_it_is_heard_up_to_its_last_whole_frame(engine, until):
    listener = Listener()
    voice = Voice(engine, listener, from_codes=False)
    for _ in range(3):
        await voice.push(FRAME)
    voice.break_off()
    engine.start()
    await until(lambda: listener.length is not None)
    assert len(listener.frames) == 3
    assert listener.length == Length(3 * 1280, 16_000)
    assert engine.free_slots == 2
    voice.break_off()
    voice.close()
    assert engine.free_slots == 2


async def test_a_fault_frees_the_slot_and_who_waits(engine, until):
    listener = Listener()
    voice = Voice(engine, listener, from_codes=True)
    for _ in range(RING):
        await voice.push(np.full(8, 99_999))  # no caller lets this through
    waiting = asyncio.create_task(voice.push(np.zeros(8, np.int64)))
    engine.start()
    await until(lambda: listener.has_failed)
    await asyncio.wait_for(waiting, 120)
    assert listener.frames == []
    assert engine.free_slots == 2
