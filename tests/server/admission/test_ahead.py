"""Turns of sessions that are ahead of real time, with a clock that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from xyt_stream.server.admission.ahead import AHEAD, BEHIND, PACE, SHARE, AheadTurns, Headway

LONG = 1000.0  # seconds that nobody waits here


class Waiters:
    """Sessions that wait for turns, by name, and the names of those that got theirs."""

    def __init__(self, turns):
        self.turns = turns
        self.served = []
        self.tasks = {}

    async def add(self, name, seconds=LONG):
        self.tasks[name] = asyncio.create_task(self._wait(name, seconds))
        await asyncio.sleep(0)

    async def _wait(self, name, seconds):
        await self.turns.wait(seconds)
        self.served.append(name)
        self.turns.charge(1.0)


@pytest.fixture
def turns(clock):
    return AheadTurns(clock)


@pytest.fixture
async def waiters(turns):
    waiters = Waiters(turns)
    yield waiters
    for task in waiters.tasks.values():
        task.cancel()
    await asyncio.gather(*waiters.tasks.values(), return_exceptions=True)
    assert turns.waiting == 0


async def settle():
    for _ in range(50):
        await asyncio.sleep(0)


def test_sound_in_real_time_is_never_ahead(clock):
    headway = Headway(clock)
    for _ in range(1000):
        headway.add(0.2)
        assert headway.seconds == 0
        clock.now += 0.2


def test_sound_sent_at_once_is_ahead_until_its_time_comes(clock):
    headway = Headway(clock)
    headway.add(10.0)
    assert headway.seconds == pytest.approx(10.0 * PACE - AHEAD)
    clock.now += headway.seconds + 1e-6
    assert headway.seconds == 0


def test_a_session_catches_up_after_a_pause_but_saves_no_more_for_later(clock):
    headway = Headway(clock)
    clock.now += 3600
    headway.add(BEHIND)
    assert headway.seconds == 0
    headway.add(10.0)
    assert headway.seconds > 8.0


async def test_turns_are_given_in_order_and_only_after_the_last_one_was_paid(clock, waiters):
    for name in "abc":
        await waiters.add(name)
    await settle()
    assert waiters.served == ["a"]
    clock.now += 0.9 / SHARE  # a second was charged, 1 / SHARE must pass
    await waiters.add("d")
    await settle()
    assert waiters.served == ["a"]


async def test_the_next_turn_comes_when_the_last_one_was_paid(clock, turns, waiters, until):
    turns.charge(1e-3)
    await waiters.add("a")
    await settle()
    assert waiters.served == []
    clock.now += 1e-3 / SHARE
    await until(lambda: waiters.served == ["a"])


async def test_nobody_waits_longer_than_until_its_sound_is_in_real_time(turns, waiters, until):
    turns.charge(LONG)
    await waiters.add("late")
    await waiters.add("soon", seconds=0.01)
    await until(lambda: waiters.served == ["soon"])
    assert turns.waiting == 1


async def test_a_session_that_goes_while_it_waits_leaves_its_turn_to_the_next(
    clock, turns, waiters, until
):
    turns.charge(1e-3)
    await waiters.add("gone")
    await waiters.add("next")
    waiters.tasks["gone"].cancel()
    await settle()
    assert turns.waiting == 1
    clock.now += 1e-3 / SHARE
    await until(lambda: waiters.served == ["next"])


async def test_a_session_that_goes_with_its_turn_given_holds_up_nobody(turns, waiters, until):
    given = asyncio.create_task(turns.wait(LONG))
    await asyncio.sleep(0)
    await waiters.add("next")
    given.cancel()
    await until(lambda: waiters.served == ["next"])
