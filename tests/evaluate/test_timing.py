from __future__ import annotations

import pytest
import torch

from xyt_stream.evaluate.timing import WARM_UP, ran_on, summary, timed, warm_up


def test_a_summary_is_in_milliseconds() -> None:
    times = summary([0.001 * step for step in range(1, 102)])
    assert times == {"median": pytest.approx(51), "p99": pytest.approx(100)}


def test_a_timed_step_returns_its_result_and_duration() -> None:
    now = [100.0]

    def step():
        now[0] += 0.25
        return 7

    assert timed(step, torch.device("cpu"), lambda: now[0]) == (7, 0.25)


def test_warm_up_covers_the_lookahead_of_both_halves() -> None:
    assert warm_up(0) > WARM_UP
    assert warm_up(3) - warm_up(0) == 6


def test_titles_count_threads() -> None:
    assert (ran_on("cpu", 1), ran_on("cpu", 2)) == ("cpu, 1 thread", "cpu, 2 threads")
