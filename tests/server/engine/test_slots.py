"""The plan of each step, without any device."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from xyt_stream.server.engine.slots import RING

from .slot_steps import COUNT, make, sound, take


def test_the_last_row_fills_a_freed_row():
    slots = make()
    for slot in (5, 0, 3, 1):
        slots.open(slot, from_codes=False)
    assert sorted(take(slots)[0].slots.tolist()) == [0, 1, 3, 5]
    before = take(slots)[0].slots.tolist()
    slots.close(before[1])
    slots.close(before[2])
    work, _, _ = take(slots)
    assert work.moves == [(3, 2), (2, 1)] or work.moves == [(3, 1)]
    assert work.slots.tolist() == [before[0], before[3]]
    for slot in (before[0], before[3]):
        slots.close(slot)
    assert take(slots)[0].slots.tolist() == []


def test_a_slot_with_a_new_owner_keeps_its_row_and_is_reset():
    slots = make()
    slots.open(2, from_codes=False)
    slots.push(2, sound(1), 0.0)
    first = take(slots)[0]
    slots.close(2)
    slots.open(2, from_codes=False)
    slots.push(2, sound(2), 0.0)
    work, pcm, _ = take(slots)
    assert (work.moves, work.slots.tolist(), work.fresh.tolist()) == ([], [2], [True])
    assert work.generation[0] != first.generation[0]
    assert pcm[0].tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("left", [3, 2 * RING])
def test_silent_frames_wait_since_the_stream_ended(left):
    slots = make(encoder_lead=5)
    slots.open(0, from_codes=False)
    for i in range(2 * RING):
        slots.push(0, sound(1), float(i))
        take(slots)
    slots.end(0, left, None, 100.0)
    since = [take(slots)[0].waited_since[0] for _ in range(left)]
    assert since == [100.0] * left


def test_silence_follows_the_last_frame():
    slots = make(encoder_lead=5)
    slots.open(0, from_codes=False)
    slots.push(0, sound(1), 0.0)
    slots.push(0, sound(2), 0.0)
    slots.end(0, 3, sound(3), 0.0)
    seen = []
    while not (step := take(slots))[0].ended.any():
        work, pcm, _ = step
        seen.append((pcm[0, 0], bool(work.fresh[0]), bool(work.closing[0]), work.left[0]))
    assert [row[0] for row in seen] == [1, 2, 3, 0, 0]
    assert [row[1] for row in seen] == [True, False, False, False, False]
    assert [row[2] for row in seen] == [False, False, True, False, False]
    assert seen[2][3] == 3
    assert not slots.waiting


@pytest.mark.parametrize("frames", range(6))
def test_a_decoder_is_primed_first_and_drained_last(frames):
    lead = 3
    slots = make(decoder_lead=lead)
    slots.open(0, from_codes=True)
    slots.set_decoding(0, True)
    for frame in range(frames):
        slots.push(0, np.array([frame, frame]), 0.0)
    slots.end(0, 0, None, 0.0)
    works = []
    while not (work := take(slots)[0]).ended.any():
        works.append(work)
    assert sum(bool(work.stepped[0]) for work in works) == frames
    assert sum(bool(work.decoded[0]) for work in works) == frames  # none lost, none made up
    assert [int(work.place[0]) for work in works if work.place[0] >= 0] == list(range(3))[:frames]
    primed = [bool(work.primed[0]) for work in works]
    assert sum(primed) == min(frames, 1)
    assert [int(work.rest[0]) for work in works if work.drains[0]] == [min(frames, lead)][:frames]


class Owners(RuleBasedStateMachine):
    """Slots opened, fed, ended and given back in any order, beside what a plain list says."""

    def __init__(self):
        super().__init__()
        self.slots = make()
        self.queues = {}
        self.number = 0

    @precondition(lambda self: len(self.queues) < COUNT)
    @rule(choice=st.integers(0, COUNT - 1))
    def open(self, choice):
        free = [slot for slot in range(COUNT) if slot not in self.queues]
        slot = free[choice % len(free)]
        self.slots.open(slot, from_codes=False)
        self.queues[slot] = []

    @precondition(lambda self: self.queues)
    @rule(choice=st.integers(0, COUNT - 1))
    def close(self, choice):
        slot = sorted(self.queues)[choice % len(self.queues)]
        self.slots.close(slot)
        del self.queues[slot]

    @precondition(lambda self: self.queues)
    @rule(choice=st.integers(0, COUNT - 1))
    def push(self, choice):
        slot = sorted(self.queues)[choice % len(self.queues)]
        if len(self.queues[slot]) < RING:
            self.number += 1
            self.slots.push(slot, sound(self.number), 0.0)
            self.queues[slot].append(self.number)

    @rule()
    def step(self):
        work, pcm, _ = take(self.slots)
        assert sorted(work.slots.tolist()) == sorted(self.queues)
        for row, slot in enumerate(work.slots.tolist()):
            assert bool(work.stepped[row]) == bool(self.queues[slot])
            if self.queues[slot]:
                assert pcm[row, 0] == self.queues[slot].pop(0)

    @invariant()
    def waits_for_the_right_reason(self):
        assert self.slots.waiting == any(self.queues.values())


TestOwners = Owners.TestCase
TestOwners.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
