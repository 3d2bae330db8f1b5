from __future__ import annotations

from types import SimpleNamespace

import pytest

from xyt_stream.server.engine import timings as module
from xyt_stream.server.engine.timings import Timings


@pytest.fixture
def clock(monkeypatch):
    """Seconds, as the module sees them."""
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_before_the_first_step_there_is_nothing_to_tell():
    timings = Timings()
    assert (timings.step_ms(), timings.coding_ms()) == (None, None)
    assert (timings.last, timings.load) == (0.0, 0.0)


def test_steps_and_their_halves():
    timings = Timings()
    timings.took(0.010, 0.006, None)
    assert (timings.coding_ms().encode, timings.coding_ms().decode) == (6.0, None)
    timings.took(0.030, None, 0.020)
    timings.took(0.020, 0.008, 0.010)
    assert timings.step_ms().median == pytest.approx(20)
    assert timings.step_ms().p99 == pytest.approx(30, abs=0.5)
    assert timings.coding_ms().encode == pytest.approx(7)
    assert timings.coding_ms().decode == pytest.approx(15)
    assert timings.last == 0.020


def test_the_load_is_what_the_latest_steps_take_of_real_time(clock):
    timings = Timings()
    for _ in range(15):
        timings.took(0.040, None, None)
    assert timings.load == 0  # too few to tell
    timings.took(4.0, None, None)  # one that is slow is no load
    assert timings.load == pytest.approx(0.5)
    clock[0] += 11
    assert timings.load == 0  # long ago
