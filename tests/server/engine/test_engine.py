"""The engine with the real codec, on a real thread, without sockets."""

from __future__ import annotations

import numpy as np
import pytest

from xyt_stream.audio import fit_length, to_float32
from xyt_stream.errors import ProtocolError
from xyt_stream.server.engine.engine import Engine


class Tenant:
    """Keeps what it gets."""

    def __init__(self):
        self.codes, self.sound, self.starts = [], [], []
        self.tail = None
        self.has_failed = False

    def stepped(self, codes, sound, starts):
        self.codes.append(codes)
        self.sound.append(sound)
        self.starts.append(starts)

    def ended(self, tail):
        self.tail = tail

    def failed(self):
        self.has_failed = True


@pytest.fixture
async def engine(codec):
    engine = Engine(codec, 3)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def frames(clip):
    return to_float32(clip)[: 12 * 1280].reshape(12, 1280)


def push_all(engine, slot, frames):
    for frame in frames:
        engine.push(slot, frame)
    engine.end(slot)


async def test_a_slot_gives_the_codec_frame_by_frame(engine, frames, direct, until):
    tenant = Tenant()
    slot = engine.open(tenant, from_codes=False)
    engine.decode(slot, True)
    push_all(engine, slot, frames)
    await until(lambda: tenant.tail is not None)
    np.testing.assert_array_equal(np.stack(tenant.codes, axis=1), direct.codes[:, :12])
    sound = np.concatenate([*tenant.sound, tenant.tail])[engine.delay_samples :]
    assert len(sound) == 12 * 1280
    sure = len(sound) - engine.delay_samples  # the direct decoder went on where this one ended
    np.testing.assert_allclose(sound[:sure], to_float32(direct.sound)[:sure], atol=1.5 / 32_768)
    assert tenant.starts == [True] + 11 * [False]


async def test_only_what_is_wanted_is_decoded_and_it_starts_afresh(engine, frames, until):
    tenant = Tenant()
    slot = engine.open(tenant, from_codes=False)
    for step, wanted in enumerate((False, True, True, False, True), start=1):
        engine.decode(slot, wanted)
        engine.push(slot, frames[step])
        await until(lambda step=step: len(tenant.codes) == step)
    assert [sound is not None for sound in tenant.sound] == [False, True, True, False, True]
    assert tenant.starts == [False, True, False, False, True]


async def test_a_slot_remembers_nothing_of_its_last_tenant(engine, frames, until):
    heard = []
    for _ in range(2 * engine.slots):
        tenant = Tenant()
        slot = engine.open(tenant, from_codes=False)
        push_all(engine, slot, frames)
        await until(lambda tenant=tenant: tenant.tail is not None)
        engine.close(slot)
        heard.append(np.stack(tenant.codes))
    for codes in heard[1:]:
        np.testing.assert_array_equal(codes, heard[0])


async def test_who_has_left_hears_nothing_and_the_next_hears_only_itself(engine, frames, until):
    gone = Tenant()
    slot = engine.open(gone, from_codes=False)
    for frame in frames:
        engine.push(slot, frame)
    engine.close(slot)
    tenant = Tenant()
    assert engine.open(tenant, from_codes=False) == slot
    push_all(engine, slot, frames[:2])
    await until(lambda: tenant.tail is not None)
    assert len(tenant.codes) == 2
    assert gone.codes == []


async def test_more_tenants_than_slots_are_refused(engine):
    slots = [engine.open(Tenant(), from_codes=False) for _ in range(3)]
    assert engine.free_slots == 0
    with pytest.raises(ProtocolError) as caught:
        engine.open(Tenant(), from_codes=False)
    assert caught.value.name == "busy"
    engine.close(slots[1])
    assert engine.open(Tenant(), from_codes=True) == slots[1]


async def test_a_step_that_fails_fails_who_was_in_it_and_no_more(engine, frames, until):
    bad, good = Tenant(), Tenant()
    slot = engine.open(bad, from_codes=True)
    engine.decode(slot, True)
    engine.push(slot, np.full(8, 99_999))  # no caller lets this through
    await until(lambda: bad.has_failed)
    slot = engine.open(good, from_codes=False)
    push_all(engine, slot, frames[:2])
    await until(lambda: good.tail is not None)
    assert len(good.codes) == 2
    assert not good.has_failed


async def test_an_idle_engine_makes_no_steps(engine, frames, until):
    assert engine.timings.step_ms() is None
    tenant = Tenant()
    slot = engine.open(tenant, from_codes=False)
    engine.push(slot, fit_length(frames[0], 1280))
    await until(lambda: len(tenant.codes) == 1)
    before = engine.timings.step_ms()
    await until(lambda: len(tenant.codes) == 1)
    assert engine.timings.step_ms() == before
    assert before.median > 0


async def test_it_tells_encoding_and_decoding_apart(engine, frames, until):
    assert engine.timings.coding_ms() is None
    tenant = Tenant()
    slot = engine.open(tenant, from_codes=False)
    engine.push(slot, frames[0])
    await until(lambda: len(tenant.codes) == 1)
    assert engine.timings.coding_ms().encode > 0
    assert engine.timings.coding_ms().decode is None
    engine.decode(slot, True)
    for frame in frames[1:6]:
        engine.push(slot, frame)
    await until(lambda: len(tenant.codes) == 6)
    both = engine.timings.coding_ms()
    assert both.encode > 0
    assert both.decode > 0
