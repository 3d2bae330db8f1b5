from __future__ import annotations

import pytest

from xyt_stream.server.engine.load import Load


def test_load_is_the_share_of_real_time_that_recent_steps_take(clock):
    load = Load(clock)
    for _ in range(15):
        load.record(0.040)
    assert load.share == 0  # too few
    load.record(4.0)  # one slow step is no load
    assert load.share == pytest.approx(0.5)
    clock.now += 11
    assert load.share == 0  # too old


def test_a_few_very_slow_steps_are_a_load(clock):
    load = Load(clock)
    load.record(2.0)
    load.record(2.0)
    assert load.share == 0
    load.record(2.0)
    assert load.share == pytest.approx(25)
