from __future__ import annotations

import pytest
import torch

from xyt_stream.evaluate.timing import summary, timed


def test_a_summary_is_in_milliseconds() -> None:
    times = summary([0.001 * step for step in range(1, 102)])
    assert times == {"median": pytest.approx(51), "p99": pytest.approx(100)}


def test_a_timed_step_gives_its_result_and_seconds() -> None:
    result, seconds = timed(lambda: 7, torch.device("cpu"))
    assert result == 7
    assert seconds >= 0
