"""The plan of each step, without any device."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.server.engine.slots import NEW, RING, ROWS_AHEAD, ROWS_NEW, SHARE_NEW, Slots

COUNT = 6


def make(encoder_lead=0, decoder_lead=0, count=COUNT):
    return Slots(
        count,
        frame_samples=4,
        codebooks=2,
        encoder_lead=encoder_lead,
        decoder_lead=decoder_lead,
    )


def take(slots, now=1e9):
    """A step, by default at a time when every frame is due."""
    pcm, codes = np.zeros((slots.count, 4), np.float32), np.zeros((slots.count, 2), np.int64)
    return slots.take(pcm, codes, now), pcm, codes


def sound(value):
    return np.full(4, value, np.float32)


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


def test_a_step_waits_only_for_frames_that_are_due():
    slots = make()
    for slot, last in ((0, 10.00), (1, 10.05), (2, 9.0)):
        slots.open(slot, from_codes=False)
        slots.push(slot, sound(1), last)
    slots.open(3, from_codes=False)  # has not said anything yet
    assert not slots.expected(9.99, 10.01)  # all have a frame that waits
    take(slots)
    assert slots.expected(9.99, 10.01)
    assert not slots.expected(10.01, 10.04)
    slots.end(0, 0, None, 11.0)
    assert not slots.expected(9.99, 10.01)


def stepped(slots, now):
    """The slots of which a step at a time takes a frame."""
    work = take(slots, now)[0]
    return set(work.slots[work.stepped].tolist())


def fill(slots, slot, now):
    """Pushes frames until the ring is full."""
    while slots._written[slot] - slots._taken[slot] < RING:
        slots.push(slot, sound(1), now)


def hasty(slots, numbers, now):
    """Opens slots whose streams are far ahead of real time."""
    for slot in numbers:
        slots.open(slot, from_codes=False)
    for _ in range(4):
        for slot in numbers:
            fill(slots, slot, now)
        stepped(slots, now)


def test_streams_in_real_time_come_before_those_ahead_of_it():
    slots = make()
    hasty(slots, (1, 2, 3), 10.0)
    slots.open(0, from_codes=False)
    slots.push(0, sound(1), 10.0)
    assert stepped(slots, 10.0) == {0}
    slots.push(0, sound(1), 10.0 + FRAME_SECONDS)
    assert stepped(slots, 10.0 + FRAME_SECONDS) == {0}
    assert slots.only_ahead(10.0 + FRAME_SECONDS)
    assert len(stepped(slots, 10.0 + FRAME_SECONDS)) == ROWS_AHEAD
    slots.push(0, sound(1), 10.0 + 2 * FRAME_SECONDS)
    assert not slots.only_ahead(10.0 + 2 * FRAME_SECONDS)


def test_streams_ahead_share_all_steps_while_no_other_runs():
    slots = make()
    hasty(slots, (1, 2, 3), 10.0)
    assert not slots.only_ahead(10.0)
    assert stepped(slots, 10.0) == {1, 2, 3}
    slots.open(0, from_codes=False)
    slots.push(0, sound(1), 10.0)
    assert stepped(slots, 10.0) == {0}
    assert stepped(slots, 11.0) == {1, 2, 3}  # that one has paused


def test_a_stream_ahead_of_real_time_never_falls_behind_it():
    slots = make()
    hasty(slots, (1, 2, 3), 0.0)
    slots.open(0, from_codes=False)
    taken = {1: 0, 2: 0, 3: 0}
    for frame in range(200):
        now = frame * FRAME_SECONDS
        slots.push(0, sound(1), now)
        for slot in taken:
            fill(slots, slot, now)
        for slot in stepped(slots, now) - {0}:  # the device has time for one step a frame
            taken[slot] += 1
    assert min(taken.values()) >= 180


def new_beside_an_older_one(count):
    """Slots where 0 runs in real time and all others have just begun; and the time."""
    slots = make(count=count)
    slots.open(0, from_codes=False)
    slots.push(0, sound(1), 10.0)
    assert stepped(slots, 10.0) == {0}
    now = 10.0 + 13 * FRAME_SECONDS
    slots.push(0, sound(1), now - FRAME_SECONDS)
    assert stepped(slots, now - FRAME_SECONDS) == {0}
    for slot in range(1, count):
        slots.open(slot, from_codes=False)
        slots.push(slot, sound(1), now)
    return slots, now


def test_few_streams_that_have_just_begun_are_in_a_step_beside_older_ones():
    slots, now = new_beside_an_older_one(COUNT)
    new = set(range(1, COUNT))
    slots.push(0, sound(1), now)
    first = stepped(slots, now)
    assert len(first) == 1 + ROWS_NEW
    assert 0 in first
    while new - first:
        following = stepped(slots, now)
        assert 0 < len(following) <= ROWS_NEW
        first |= following
    later = now + NEW
    for slot in range(COUNT):
        slots.push(slot, sound(1), later)
    assert stepped(slots, later) == set(range(COUNT))


def test_of_very_many_streams_that_have_just_begun_a_step_takes_a_share():
    """Two at a time, their steps would take the engine's whole time."""
    many = 1 + ROWS_NEW * SHARE_NEW * 4
    slots, now = new_beside_an_older_one(many)
    left = many - 1
    while left:
        count = len(stepped(slots, now))
        assert count == min(left, max(ROWS_NEW, left // SHARE_NEW))
        left -= count


def test_a_step_of_new_streams_gives_way_to_an_older_one():
    slots = make()
    slots.open(0, from_codes=False)
    slots.push(0, sound(1), 10.0)
    assert slots.gives_way(10.0)  # it has just begun
    stepped(slots, 10.0)
    now = 10.0 + NEW
    slots.push(0, sound(1), now)
    assert not slots.gives_way(now)
    stepped(slots, now)
    slots.open(1, from_codes=False)
    slots.push(1, sound(1), now)
    assert slots.gives_way(now)
    assert slots.expected(now - 0.01, now + 0.01, since=now - NEW / 2)  # the older one's frame
    assert not slots.expected(now - 0.01, now + 0.01, since=now - 2 * NEW)
    slots.end(1, 0, None, now)
    assert not slots.gives_way(now)


def test_streams_that_begin_together_share_their_steps():
    slots = make()
    for slot in range(COUNT):
        slots.open(slot, from_codes=False)
        slots.push(slot, sound(1), 10.0)
    assert stepped(slots, 10.0) == set(range(COUNT))


def test_a_stream_whose_first_frame_came_late_is_soon_in_real_time():
    slots = make()
    for slot in (0, 1):
        slots.open(slot, from_codes=False)
    for frame in range(40):
        now = frame * FRAME_SECONDS
        slots.push(0, sound(1), now)
        slots.push(1, sound(1), now + 0.2 if frame == 0 else now)
        taken = stepped(slots, now)
        while slots.waiting:
            stepped(slots, now)
    assert taken == {0, 1}


def test_frames_that_were_held_up_are_in_real_time():
    slots = make()
    hasty(slots, (1,), 0.0)
    slots.open(0, from_codes=False)
    slots.push(0, sound(1), 0.0)
    assert stepped(slots, 0.0) == {0}
    for _ in range(5):
        slots.push(0, sound(1), 5 * FRAME_SECONDS)
    assert all(0 in stepped(slots, 5 * FRAME_SECONDS) for _ in range(5))


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
