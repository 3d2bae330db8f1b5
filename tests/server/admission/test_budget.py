from __future__ import annotations

import asyncio

import pytest

from xyt_stream.errors import ProtocolError
from xyt_stream.server.admission import loop_share
from xyt_stream.server.admission.budget import BURST, Budget, metered
from xyt_stream.server.admission.handshakes import Handshakes
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.admission.proxies import Proxies
from xyt_stream.server.admission.turns import SHARE, Turns


def spent(budget, kind, amount):
    try:
        budget.spend(kind, amount)
    except ProtocolError as error:
        return error.name
    return None


@pytest.mark.parametrize(
    ("kind", "rate", "name"),
    [
        ("messages", 1000, "too_many_messages"),
        ("bytes", 1e6, "too_many_bytes"),
        ("work", 0.5, "too_much_work"),
    ],
)
def test_ten_seconds_worth_may_be_spent_at_once_and_no_more(clock, kind, rate, name):
    budget = Budget(Limits(), clock)
    budget.accept()
    assert spent(budget, kind, 10 * rate) is None
    assert not budget.calm
    assert spent(budget, kind, rate / 1000) == name
    clock.now += 6
    assert spent(budget, kind, 5 * rate) is None


def test_a_stranger_has_a_hundredth_of_it(clock):
    budget = Budget(Limits(), clock)
    assert spent(budget, "messages", 100) is None
    assert spent(budget, "messages", 1) == "too_many_messages"
    assert spent(budget, "bytes", 100_001) == "too_many_bytes"
    budget.accept()
    assert spent(budget, "messages", 10_000) is None


def test_zero_is_any_number(clock):
    budget = Budget(Limits(client_messages=0, client_bytes=0, client_work=0), clock)
    for kind in ("messages", "bytes", "work"):
        assert spent(budget, kind, 1e12) is None
    assert budget.calm


async def test_each_step_of_a_task_is_charged_and_waiting_is_not():
    charged = []

    async def work():
        await asyncio.sleep(0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        return "done"

    assert await metered(work(), charged.append) == "done"
    assert len(charged) >= 3
    assert all(seconds >= 0 for seconds in charged)


async def test_a_metered_task_can_be_cancelled():
    ended = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    task = asyncio.create_task(metered(work(), lambda seconds: None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


class Endless:
    """A reader that always has more."""

    def __init__(self, turns):
        self.slices = 0
        turns.add(self)

    def read_slice(self):
        self.slices += 1
        return self.slices < 100_000


async def test_readers_take_turns_and_the_loop_goes_on():
    turns = Turns()
    readers = [Endless(turns) for _ in range(3)]
    for _ in range(5):
        before = [each.slices for each in readers]
        await asyncio.sleep(0)
        assert max(before) - min(before) <= 1  # none is ahead of another
    assert all(0 < each.slices < 100_000 for each in readers)


async def test_floods_leave_the_loop_the_rest_of_the_time(clock, until):
    turns = Turns(clock)
    turns.charge(0.01)
    reader = Endless(turns)
    clock.now += 0.01 * (1 / SHARE - 1) - 0.001
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert reader.slices == 0
    clock.now += 0.002
    await until(lambda: reader.slices > 0)


def test_newcomers_do_not_wait_for_all_that_a_flood_has_cost(clock):
    """A flood whose work takes no turns would keep everybody out long after its end."""
    turns = Turns(clock, share=0.25)
    for _ in range(4_000):
        clock.now += 0.001
        turns.charge(0.001)
    clock.now += 2.1
    assert turns.idle


async def test_readers_get_turns_while_other_work_takes_more_than_the_share(
    clock, until, monkeypatch
):
    """A flood whose work takes no turns, and goes on, would keep everybody out until its end."""
    monkeypatch.setattr(loop_share, "_LONGEST", 0.05)
    turns = Turns(clock, share=0.25, turn=0)
    for _ in range(4_000):
        clock.now += 0.001
        turns.charge(0.001)
    readers = [Endless(turns) for _ in range(2)]

    def all_are_read():
        clock.now += 0.1
        turns.charge(0.1)
        return all(each.slices for each in readers)

    await until(all_are_read)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_no_more_than_the_share_is_taken(clock, share):
    turns, taken, end = Turns(clock, share=share), 0.0, clock.now + 60
    while clock.now < end:
        if turns.idle:
            taken += 0.003
            clock.now += 0.003
            turns.charge(0.003)
        else:
            clock.now += 0.0001
    assert taken == pytest.approx(60 * share, rel=0.05)


async def test_one_reader_is_read_in_a_turn_of_no_length(clock):
    turns = Turns(clock, turn=0)
    readers = [Endless(turns) for _ in range(3)]
    for taken in range(1, 7):
        await asyncio.sleep(0)
        assert sum(each.slices for each in readers) == taken


def test_a_credit_is_taken_at_once_and_earned_again(clock):
    turns = Turns(clock, share=0.25, credit=0.05)
    turns.charge(0.04)
    assert turns.idle
    turns.charge(0.03)
    assert not turns.idle
    clock.now += 0.041
    assert turns.idle
    clock.now += 100
    turns.charge(0.08)  # no more than the credit was earned
    assert not turns.idle


@pytest.mark.parametrize(("messages", "calm"), [(3, True), (19, False)])
def test_a_client_is_calm_while_it_spends_a_part_of_its_budget(clock, messages, calm):
    """A client that spends all of it, and no more, is no calm one, and is not closed."""
    budget = Budget(Limits(), clock)
    budget.accept()
    for _ in range(500):
        clock.now += 0.02
        assert spent(budget, "messages", messages) is None
        assert spent(budget, "bytes", 1_000 * messages) is None
    assert budget.calm is calm


def test_a_flood_that_is_over_is_forgotten(clock):
    budget = Budget(Limits(), clock)
    budget.accept()
    assert spent(budget, "messages", 9_000) is None
    assert not budget.calm
    clock.now += BURST
    assert budget.calm


def entered(handshakes, peer, dropped, count=1):
    """Counts how many of `count` connections of a peer are admitted."""
    keys = [object() for _ in range(count)]
    return sum(
        handshakes.enter(key, peer, lambda key=key: dropped.append((peer, key))) for key in keys
    )


def test_connections_without_a_session_count_for_their_address():
    handshakes, dropped = Handshakes(4, most=100), []
    assert entered(handshakes, "192.0.2.1", dropped, 6) == 4
    assert entered(handshakes, "192.0.2.2", dropped, 6) == 4
    assert entered(handshakes, "2001:db8::1", dropped, 3) == 3
    assert entered(handshakes, "2001:db8::2", dropped, 3) == 1  # of the same customer
    assert not dropped


def test_a_session_or_an_end_makes_room():
    handshakes = Handshakes(2, most=100)
    keys = [object(), object(), object()]
    assert [handshakes.enter(key, "192.0.2.1", print) for key in keys] == [True, True, False]
    handshakes.accept(keys[0])
    handshakes.leave(keys[1])
    handshakes.leave(keys[1])
    assert [handshakes.enter(object(), "192.0.2.1", print) for _ in range(3)] == [True, True, False]


def test_a_connection_is_told_once_that_a_session_takes_it():
    handshakes, told = Handshakes(2, most=100), []
    kept, lost = object(), object()
    for key in (kept, lost):
        handshakes.enter(key, "192.0.2.1", print, lambda key=key: told.append(key))
    handshakes.leave(lost)
    for key in (kept, kept, lost):
        handshakes.accept(key)
    assert told == [kept]


def test_a_proxy_s_connections_are_not_of_one_address():
    handshakes, dropped = Handshakes(2, Proxies(["192.0.2.0/24"]), most=100), []
    assert entered(handshakes, "192.0.2.1", dropped, 10) == 10


def test_the_oldest_silent_connection_goes_when_descriptors_run_out():
    handshakes, dropped = Handshakes(64, most=8), []
    assert entered(handshakes, "192.0.2.1", dropped, 8) == 4
    assert entered(handshakes, "192.0.2.2", dropped, 8) == 4
    assert not dropped
    assert entered(handshakes, "192.0.2.3", dropped) == 1
    assert [peer for peer, _ in dropped] == ["192.0.2.1"]
    assert len(handshakes) == 8
