"""A stream with many listeners: turns, their order, and listeners that leave or fail."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import numpy as np

from xyt_stream.server.engine.fanout import Fanout

MANY = 10
CODES = np.zeros(8, np.int64)


class Clock:
    """Moves on with each call that a listener gets, by more than a turn."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Heard:
    """Notes what it gets; fails at the frames that are named."""

    wants_sound = False

    def __init__(self, clock, fails_at=()):
        self.frames = []
        self._clock = clock
        self._fails_at = fails_at

    def on_codes(self, index, codes):
        self._clock.now += 1.0
        self.frames.append(index)
        if index in self._fails_at:
            raise ValueError(index)

    def on_interruption(self):
        self.frames.append("interrupted")


def many(clock, stack, count=MANY):
    fanout = Fanout(clock=clock)
    listeners = [Heard(clock) for _ in range(count)]
    for listener in listeners:
        stack.enter_context(fanout.join(listener))
    return fanout, listeners


async def test_many_listeners_get_a_frame_in_turns_and_in_order(until):
    with ExitStack() as stack:
        fanout, listeners = many(Clock(), stack)
        fanout.on_codes(0, CODES)
        fanout.on_interruption()
        fanout.on_codes(1, CODES)
        assert sum(len(each.frames) for each in listeners) == 1
        await until(lambda: not fanout._calls)
        assert [each.frames for each in listeners] == [[0, "interrupted", 1]] * MANY


def test_few_listeners_get_a_frame_at_once():
    with ExitStack() as stack:
        fanout, listeners = many(Clock(), stack, count=3)
        fanout.on_codes(0, CODES)
        assert [each.frames for each in listeners] == [[0]] * 3


async def test_one_that_has_left_gets_nothing_more_and_one_that_joins_nothing_earlier(until):
    clock = Clock()
    with ExitStack() as stack:
        fanout, listeners = many(clock, stack)
        leaving, joining = Heard(clock), Heard(clock)
        with fanout.join(leaving):
            fanout.on_codes(0, CODES)
            fanout.on_codes(1, CODES)
        got = list(leaving.frames)
        with fanout.join(joining):
            fanout.on_codes(2, CODES)
            await until(lambda: not fanout._calls)
        assert (leaving.frames, joining.frames) == (got, [2])
        assert [each.frames for each in listeners] == [[0, 1, 2]] * MANY


async def test_one_that_fails_keeps_nothing_from_the_others(until):
    clock, failures = Clock(), []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: failures.append(context["exception"])
    )
    with ExitStack() as stack:
        fanout, listeners = many(clock, stack)
        with fanout.join(Heard(clock, fails_at=(0,))):
            try:
                fanout.on_codes(0, CODES)
            except ValueError as error:
                failures.append(error)
            fanout.on_codes(1, CODES)
            await until(lambda: not fanout._calls)
    assert len(failures) == 1
    assert [each.frames for each in listeners] == [[0, 1]] * MANY


async def test_no_more_than_so_much_waits(until):
    frames = 100
    with ExitStack() as stack:
        fanout, listeners = many(Clock(), stack)
        for index in range(frames):
            fanout.on_codes(index, CODES)
        assert min(len(each.frames) for each in listeners) > frames / 2
        await until(lambda: not fanout._calls)
        assert [each.frames for each in listeners] == [list(range(frames))] * MANY
