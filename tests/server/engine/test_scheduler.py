"""Which of the frames that wait a step takes, and when it waits for others."""

from __future__ import annotations

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.server.engine.scheduler import (
    BACKLOG,
    LATE,
    NEW,
    ROWS_AHEAD,
    ROWS_GIVING_WAY,
    SHARE_GIVING_WAY,
)
from xyt_stream.server.engine.slots import RING

from .slot_steps import COUNT, make, sound, stepped, take


def test_a_step_waits_only_for_frames_that_are_due():
    slots = make()
    for slot, last in ((0, 10.00), (1, 10.05), (2, 9.0)):
        slots.open(slot, from_codes=False)
        slots.push(slot, sound(1), last - NEW)
        slots.push(slot, sound(1), last)
    slots.open(3, from_codes=False)  # has not said anything yet
    now = 10.0 + FRAME_SECONDS
    assert not slots.scheduler.expected(now, now + 0.01)  # all have a frame that waits
    take(slots)
    take(slots)
    assert slots.scheduler.expected(now, now + 0.01)
    assert slots.scheduler.expected(now - 0.01, now + 0.01)
    assert not slots.scheduler.expected(now + 2 * LATE, now + 0.05)  # one is late, one early
    assert slots.scheduler.expected(now + 2 * LATE, now + 0.06)
    slots.end(0, 0, None, now)
    assert not slots.scheduler.expected(now, now + 0.01)


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
    assert slots.scheduler.only_ahead(10.0 + FRAME_SECONDS)
    assert len(stepped(slots, 10.0 + FRAME_SECONDS)) == ROWS_AHEAD
    slots.push(0, sound(1), 10.0 + 2 * FRAME_SECONDS)
    assert not slots.scheduler.only_ahead(10.0 + 2 * FRAME_SECONDS)


def test_streams_ahead_share_all_steps_while_no_other_runs():
    slots = make()
    hasty(slots, (1, 2, 3), 10.0)
    assert not slots.scheduler.only_ahead(10.0)
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
        for later in (0, FRAME_SECONDS / 2):  # the device has time for two steps a frame
            for slot in stepped(slots, now + later) - {0}:
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
    assert len(first) == 1 + ROWS_GIVING_WAY
    assert 0 in first
    while new - first:
        following = stepped(slots, now)
        assert 0 < len(following) <= ROWS_GIVING_WAY
        first |= following
    later = now + NEW
    for slot in range(COUNT):
        slots.push(slot, sound(1), later)
    assert stepped(slots, later) == set(range(COUNT))


def test_of_very_many_streams_that_have_just_begun_a_step_takes_a_share():
    """Two at a time, their steps would take the engine's whole time."""
    many = 1 + ROWS_GIVING_WAY * SHARE_GIVING_WAY * 4
    slots, now = new_beside_an_older_one(many)
    left = many - 1
    while left:
        count = len(stepped(slots, now))
        assert count == min(left, max(ROWS_GIVING_WAY, left // SHARE_GIVING_WAY))
        left -= count


def test_a_step_of_new_streams_gives_way_to_an_older_one():
    slots = make()
    slots.open(0, from_codes=False)
    slots.push(0, sound(1), 10.0)
    assert slots.scheduler.gives_way(10.0)  # it has just begun
    stepped(slots, 10.0)
    now = 10.0 + NEW
    slots.push(0, sound(1), now)
    assert not slots.scheduler.gives_way(now)
    stepped(slots, now)
    slots.open(1, from_codes=False)
    slots.push(1, sound(1), now)
    assert slots.scheduler.gives_way(now)
    due = now + FRAME_SECONDS
    assert slots.scheduler.expected(due - 0.01, due + 0.01)  # the older one's frame
    slots.close(0)
    stepped(slots, now)
    assert not slots.scheduler.expected(due - 0.01, due + 0.01)  # the new one's is not waited for
    slots.push(1, sound(1), now)
    assert slots.scheduler.gives_way(now)
    slots.end(1, 0, None, now)
    assert not slots.scheduler.gives_way(now)


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


def fast_beside_a_calm_one(count):
    """Slots where 0 runs in real time and all others send as fast as they may; and the time."""
    slots = make(count=count)
    for slot in range(count):
        slots.open(slot, from_codes=False)
    for frame in range(20):
        now = 10.0 + frame * FRAME_SECONDS
        slots.push(0, sound(1), now)
        for slot in range(1, count):
            fill(slots, slot, now)
        while 0 not in stepped(slots, now):
            pass
    return slots, now + FRAME_SECONDS


def test_few_streams_whose_clients_send_fast_are_in_a_step_beside_a_calm_one():
    slots, now = fast_beside_a_calm_one(1 + ROWS_GIVING_WAY * SHARE_GIVING_WAY * 2)
    slots.push(0, sound(1), now)
    first = stepped(slots, now)
    assert 0 in first
    assert len(first) == 1 + ROWS_GIVING_WAY * 2
    assert slots.scheduler.gives_way(now)
    assert slots.scheduler.expected(now + FRAME_SECONDS - 0.01, now + FRAME_SECONDS + 0.01)
    assert len(stepped(slots, now)) <= ROWS_GIVING_WAY * 2


def test_streams_whose_clients_send_fast_share_all_steps_once_the_calm_one_pauses():
    slots, now = fast_beside_a_calm_one(COUNT)
    assert stepped(slots, now + 1.0) == set(range(1, COUNT))


def test_a_step_takes_no_more_rows_than_it_may_and_calm_ones_first():
    slots = make(most_rows=3)
    for slot in range(COUNT):
        slots.open(slot, from_codes=False)
        slots.push(slot, sound(1), 10.0 if slot > 1 else 9.0)
    assert slots.scheduler.full
    first = stepped(slots, 10.0)
    assert first == {0, 1, *first}
    assert len(first) == 3
    assert len(stepped(slots, 10.0)) == 3
    assert not slots.scheduler.full
    assert not slots.waiting


def test_where_all_streams_are_too_many_the_newest_fall_behind():
    slots, oldest = make(most_rows=2), {4, 5}
    for slot in range(COUNT):
        slots.open(slot, from_codes=False)
    for slot in (*oldest, *set(range(COUNT)) - oldest):
        slots.push(slot, sound(1), 9.0 if slot in oldest else 9.1)
    taken = []
    for frame in range(1, 10):  # one step for each frame of sound: too slow for all
        now = 10.0 + frame * FRAME_SECONDS
        for slot in range(COUNT):
            if slots._written[slot] - slots._taken[slot] < BACKLOG:
                slots.push(slot, sound(1), now)
        taken.append(stepped(slots, now))
    assert taken[1:] == [oldest] * 8
