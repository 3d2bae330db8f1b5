from __future__ import annotations

import sys
import threading

import pytest

from xyt_stream.server.engine.timings import Timings


def test_before_the_first_step_there_are_no_timings():
    timings = Timings()
    assert (timings.step_ms(), timings.coding_ms(), timings.answer_ms()) == (None, None, None)
    assert (timings.last_step, timings.longest_step, timings.load.share) == (0.0, 0.0, 0.0)


def test_steps_and_their_halves():
    timings = Timings()
    timings.record_step(0.010, 0.006, None)
    assert (timings.coding_ms().encode, timings.coding_ms().decode) == (6.0, None)
    timings.record_step(0.030, None, 0.020)
    timings.record_step(0.020, 0.008, 0.010)
    assert timings.step_ms().median == pytest.approx(20)
    assert timings.step_ms().p99 == pytest.approx(30, abs=0.5)
    assert timings.coding_ms().encode == pytest.approx(7)
    assert timings.coding_ms().decode == pytest.approx(15)
    assert timings.last_step == 0.020
    assert timings.longest_step == 0.030


def test_answers_have_percentiles():
    timings = Timings()
    for number in range(101):
        timings.record_answer(number / 1e3)
    assert timings.answer_ms() == pytest.approx({"p50": 50, "p99": 99, "max": 100})


def test_another_thread_may_read_the_latest_steps_while_steps_are_recorded():
    timings, longest = Timings(), []
    reader = threading.Thread(
        target=lambda: longest.extend(timings.longest_step for _ in range(50_000))
    )
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reader.start()
        while reader.is_alive():
            timings.record_step(0.010, None, None)
    finally:
        sys.setswitchinterval(interval)
    assert len(longest) == 50_000
