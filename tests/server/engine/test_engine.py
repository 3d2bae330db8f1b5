"""The engine with the real codec, on a real thread, without sockets."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from xyt_stream.audio import fit_length, to_float32
from xyt_stream.errors import ProtocolError
from xyt_stream.server.engine.engine import Engine
from xyt_stream.server.engine.slots import RING


class Owner:
    """Keeps all results."""

    def __init__(self):
        self.codes, self.sound, self.starts = [], [], []
        self.tail = None
        self.has_failed = False

    def on_step(self, codes, sound, starts):
        self.codes.append(codes)
        self.sound.append(sound)
        self.starts.append(starts)

    def on_end(self, tail):
        self.tail = tail

    def on_error(self):
        self.has_failed = True


@pytest.fixture
async def engine(codec):
    engine = Engine(codec, 3)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def frames(clip):
    return to_float32(clip)[: RING * 1280].reshape(RING, 1280)


def push_all(engine, slot, frames):
    for frame in frames:
        engine.push(slot, frame)
    engine.end(slot)


async def test_a_slot_equals_the_codec_frame_by_frame(engine, frames, direct, until):
    owner = Owner()
    slot = engine.open_slot(owner, from_codes=False)
    engine.set_decoding(slot, True)
    push_all(engine, slot, frames)
    await until(lambda: owner.tail is not None)
    np.testing.assert_array_equal(np.stack(owner.codes, axis=1), direct.codes[:, :RING])
    sound = np.concatenate([*owner.sound, owner.tail])[engine.delay_samples :]
    assert len(sound) == RING * 1280
    sure = len(sound) - engine.delay_samples  # the direct decoder went on where this one ended
    np.testing.assert_allclose(sound[:sure], to_float32(direct.sound)[:sure], atol=1.5 / 32_768)
    assert owner.starts == [True] + (RING - 1) * [False]


async def test_decoding_is_optional_and_starts_afresh(engine, frames, until):
    owner = Owner()
    slot = engine.open_slot(owner, from_codes=False)
    for step, wanted in enumerate((False, True, True, False, True), start=1):
        engine.set_decoding(slot, wanted)
        engine.push(slot, frames[step])
        await until(lambda step=step: len(owner.codes) == step)
    assert [sound is not None for sound in owner.sound] == [False, True, True, False, True]
    assert owner.starts == [False, True, False, False, True]


async def test_a_slot_remembers_nothing_of_its_last_owner(engine, frames, until):
    heard = []
    for _ in range(2 * engine.slots):
        owner = Owner()
        slot = engine.open_slot(owner, from_codes=False)
        push_all(engine, slot, frames)
        await until(lambda owner=owner: owner.tail is not None)
        engine.close_slot(slot)
        heard.append(np.stack(owner.codes))
    for codes in heard[1:]:
        np.testing.assert_array_equal(codes, heard[0])


async def test_a_closed_slot_delivers_nothing_to_either_owner(engine, frames, until):
    gone = Owner()
    slot = engine.open_slot(gone, from_codes=False)
    for frame in frames:
        engine.push(slot, frame)
    engine.close_slot(slot)
    owner = Owner()
    assert engine.open_slot(owner, from_codes=False) == slot
    push_all(engine, slot, frames[:2])
    await until(lambda: owner.tail is not None)
    assert len(owner.codes) == 2
    assert gone.codes == []


async def test_more_owners_than_slots_are_refused(engine):
    slots = [engine.open_slot(Owner(), from_codes=False) for _ in range(3)]
    assert engine.free_slots == 0
    with pytest.raises(ProtocolError) as caught:
        engine.open_slot(Owner(), from_codes=False)
    assert caught.value.name == "busy"
    engine.close_slot(slots[1])
    assert engine.open_slot(Owner(), from_codes=True) == slots[1]


async def test_a_failed_step_fails_only_its_slots(engine, frames, until):
    bad, good = Owner(), Owner()
    slot = engine.open_slot(bad, from_codes=True)
    engine.set_decoding(slot, True)
    engine.push(slot, np.full(8, 99_999))  # no caller lets this through
    await until(lambda: bad.has_failed)
    slot = engine.open_slot(good, from_codes=False)
    push_all(engine, slot, frames[:2])
    await until(lambda: good.tail is not None)
    assert len(good.codes) == 2
    assert not good.has_failed


async def test_an_idle_engine_makes_no_steps(engine, frames, until):
    assert engine.timings.step_ms() is None
    owner = Owner()
    slot = engine.open_slot(owner, from_codes=False)
    engine.push(slot, fit_length(frames[0], 1280))
    await until(lambda: len(owner.codes) == 1)
    before = engine.timings.step_ms()
    await until(lambda: len(owner.codes) == 1)
    assert engine.timings.step_ms() == before
    assert before.median > 0


async def test_encoding_and_decoding_are_timed_apart(engine, frames, until):
    assert engine.timings.coding_ms() is None
    owner = Owner()
    slot = engine.open_slot(owner, from_codes=False)
    engine.push(slot, frames[0])
    await until(lambda: len(owner.codes) == 1)
    assert engine.timings.coding_ms().encode > 0
    assert engine.timings.coding_ms().decode is None
    engine.set_decoding(slot, True)
    for frame in frames[1:6]:
        engine.push(slot, frame)
    await until(lambda: len(owner.codes) == 6)
    both = engine.timings.coding_ms()
    assert both.encode > 0
    assert both.decode > 0


async def test_a_state_that_comes_too_late_does_not_reach_the_slots_next_owner(
    engine, frames, direct, until
):
    """A node's handover can end, and its slot be taken again, while the engine is in a step."""
    leaving = Owner()
    slot = engine.open_slot(leaving, from_codes=False)
    engine.push(slot, frames[3])
    await until(lambda: leaving.codes)
    state = await engine.save_slot(slot)
    holding, go_on = threading.Event(), threading.Event()

    def hold():
        holding.set()
        go_on.wait()

    held = asyncio.create_task(engine._jobs.run(hold))
    await asyncio.to_thread(holding.wait)
    loading = asyncio.create_task(engine.load_slot(slot, state))
    await asyncio.sleep(0)
    loading.cancel()
    engine.close_slot(slot)
    owner = Owner()
    assert engine.open_slot(owner, from_codes=False) == slot
    go_on.set()
    await held
    push_all(engine, slot, frames)
    await until(lambda: owner.tail is not None)
    np.testing.assert_array_equal(np.stack(owner.codes, axis=1), direct.codes[:, :RING])
