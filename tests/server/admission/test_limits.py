from __future__ import annotations

import pytest

from xyt_stream.errors import ProtocolError
from xyt_stream.server.admission.limits import Gate, Pace


def refused(action):
    try:
        action()
    except ProtocolError as error:
        return error.name == "too_many" and error.retry_after > 0
    return False


def test_a_client_may_be_ahead_by_its_credit_and_no_more(clock):
    pace = Pace(10.0, clock)
    assert [pace.charge(4.0) for _ in range(4)] == [0, 0, 2, 6]
    clock.now += 6
    assert pace.charge(0) == 0
    assert pace.charge(1) == 1


def test_silence_earns_no_more_than_the_credit(clock):
    pace = Pace(10.0, clock)
    clock.now += 3600
    assert pace.charge(10) == 0
    assert pace.charge(1) == 1


def test_joins_are_counted_by_address(clock):
    gate = Gate(0, 4.0, clock)  # nine come at once: eight are two seconds ahead
    came = [refused(lambda: gate.admit("a")) for _ in range(20)]
    assert came == 9 * [False] + 11 * [True]
    assert not refused(lambda: gate.admit("b"))
    clock.now += 1
    came = [refused(lambda: gate.admit("a")) for _ in range(20)]
    assert came == 4 * [False] + 16 * [True]  # a refused connection costs nothing


def test_sessions_are_counted_by_address(clock):
    gate = Gate(2, 0, clock)
    one, two = gate.session("a"), gate.session("a")
    one.__enter__()
    with two:
        assert refused(lambda: gate.session("a").__enter__())
        with gate.session("b"):
            pass
    with gate.session("a"):
        pass
    one.__exit__(None, None, None)


def test_unused_addresses_are_forgotten(clock):
    gate = Gate(2, 5.0, clock)
    for number in range(1000):
        gate.admit(str(number))
    with gate.session("staying"):
        clock.now += 120
        gate.admit("new")
        assert set(gate._addresses) == {"staying", "new"}


def test_unused_addresses_are_forgotten_without_a_join_limit(clock):
    gate = Gate(2, 0, clock)
    for number in range(1000):
        with gate.session(str(number)):
            pass
    clock.now += 120
    with gate.session("new"):
        assert set(gate._addresses) == {"new"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "192.0.2.2", False),
    ],
)
def test_ipv6_addresses_count_by_their_network(clock, one, other, same):
    gate = Gate(1, 0, clock)
    with gate.session(one):
        assert refused(lambda: gate.session(other).__enter__()) == same


def test_without_limits_every_client_is_admitted(clock):
    gate = Gate(0, 0, clock)
    for _ in range(1000):
        gate.admit("a")
        gate.session("a").__enter__()
