"""Tests how late the server is with a client's media, on a clock that the test moves."""

from __future__ import annotations

import pytest

from xyt_stream.server.sessions.lateness import Lateness


@pytest.fixture
def lateness(clock):
    return Lateness(clock)


def test_media_taken_in_at_once_are_never_late(lateness, clock):
    for _ in range(1000):
        assert not lateness.is_too_late(lateness.arrived(0.08, first=True))
        clock.now += 0.08


def test_one_long_gap_is_made_and_not_many(lateness, clock):
    dues = []
    for _ in range(20):
        dues.append(lateness.arrived(0.08, first=not dues))
        clock.now += 0.08
    late = [lateness.is_too_late(due) for due in dues]
    assert late == sorted(late, reverse=True)
    assert 0.4 < 0.08 * late.count(False) < 0.6
    assert not lateness.is_too_late(clock.now - 0.8)  # not before it is a second again


def test_what_is_sent_ahead_of_real_time_is_late_only_against_real_time(lateness, clock):
    dues = [lateness.arrived(0.08, first=not i) for i in range(500)]
    for due in dues:
        assert not lateness.is_too_late(due)
        clock.now += 0.075
    clock.now += 5
    assert lateness.is_too_late(dues[-1])


def test_waiting_for_the_client_is_not_late(lateness, clock):
    before = lateness.arrived(0.08, first=True)
    with lateness.holding():
        clock.now += 30
        meanwhile = lateness.arrived(0.08, first=False)
        clock.now += 30
    assert not lateness.is_too_late(before)
    assert not lateness.is_too_late(meanwhile)
    clock.now += 1.2
    assert lateness.is_too_late(before)
    assert lateness.is_too_late(meanwhile)
