"""Load on a real server in another process, by clients in further processes."""

from __future__ import annotations

import json

import pytest

from xyt_stream.bench import relay
from xyt_stream.bench.capacity_search import find_capacity
from xyt_stream.bench.load import LoadResult, Target, measure, own_server
from xyt_stream.bench.relay import own_relay
from xyt_stream.bench.soak import IdleResources, Soak
from xyt_stream.bench.speech import speech_or_noise
from xyt_stream.errors import ServeError


def test_every_frame_comes_back_and_is_timed():
    with own_server("none", slots=3) as target:
        load = measure(target, speech_or_noise(None), sessions=3, seconds=1.0)
    assert (load.sessions, load.frames, load.lost_frames, load.errors) == (3, 39, 0, [])
    times = load.turnaround_ms
    assert 0 < times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
    assert load.step_ms is not None
    assert 0 < load.answer_ms["p50"] <= load.answer_ms["p99"] <= load.answer_ms["max"]
    assert load.answer_ms["p50"] < times["p50"]  # part of the turnaround
    assert load.server_memory_mib > 1
    figures = json.loads(json.dumps(load.flat()))
    assert {"sessions", "lost_frames", "late_frames", "turnaround_ms"} <= figures.keys()


def test_refused_sessions_count_as_lost_frames(fixtures):
    with own_server("none", slots=1) as target:
        load = measure(target, speech_or_noise(fixtures / "speech.flac"), sessions=2, seconds=1.0)
    assert load.lost_frames == 13
    assert "slots are taken" in load.errors[0]
    assert not load.good


def test_a_missing_server_is_one_line(fixtures):
    speech = speech_or_noise(fixtures / "speech.flac")
    with pytest.raises(ServeError, match=r"not one frame came back from ws://127\.0\.0\.1:1: "):
        measure(Target("ws://127.0.0.1:1"), speech, sessions=1, seconds=1.0)


def test_a_server_that_fails_to_start_is_one_line(capfd):
    with pytest.raises(ServeError, match="did not start"), own_server("/nonexistent", slots=1):
        pass
    capfd.readouterr()


def test_each_load_of_a_search_is_one_line():
    times = {"p50": 1.0, "p95": 2.0, "p99": 30.4, "max": 40.0}
    steps = {"median": 1.0, "p99": 2.0}
    good = LoadResult(1, 1, 13, 0, 0, times, steps, None, None, None, [])
    late = LoadResult(9, 1, 13, 0, 5, {**times, "p99": 80.5}, steps, None, None, None, [])
    lost = LoadResult(9, 1, 13, 2, 5, times, steps, None, None, None, [])
    assert good.line == "1 session: within limits, p99 30 ms"
    assert late.line == "9 sessions: too many, p99 80 ms"
    assert lost.line == "9 sessions: too many, 2 frames lost"
    assert [load.flat()["good"] for load in (good, late, lost)] == [True, False, False]


@pytest.mark.parametrize("limit", [0, 1, 7, 8, 9, 31, 100, 10_000])
def test_the_search_ends_near_the_limit(limit):
    def run(sessions):
        bad = sessions > limit
        times = dict.fromkeys(("p50", "p95", "p99", "max"), 999.0 if bad else 1.0)
        return LoadResult(sessions, 1, 1, 0, 0, times, None, None, None, None, [])

    best = find_capacity(run, start=8, most=256)
    if limit == 0:
        assert not best.good
    elif limit >= 256:
        assert best.sessions == 256
    else:
        assert best.good
        assert best.sessions <= limit <= best.sessions * 9 / 8 + 1


@pytest.mark.parametrize(
    ("last", "good"),
    [
        (IdleResources(100, 20, 4), True),
        (IdleResources(101, 20, 4), True),
        (IdleResources(103, 20, 4), False),
        (IdleResources(90, 21, 4), False),
        (IdleResources(100, 20, 3), False),
    ],
)
def test_growth_fails_the_soak(last, good):
    soak = Soak(2, 9, 0, IdleResources(100, 20, 4), last)
    assert soak.good == good
    assert soak.flat()["good"] == good


def test_a_relay_passes_every_frame_on():
    with own_relay() as target:
        load = relay.measure(target, rooms=2, speakers=2, seconds=0.8)
    assert (load.sessions, load.frames, load.lost_frames, load.errors) == (6, 40, 0, [])
    assert 0 < load.delay_ms["p50"] <= load.delay_ms["p99"] <= load.delay_ms["max"]
    assert load.messages_per_second == (20 + 40) / 0.8
    assert load.memory_kib > 0
    assert "lost_frames" in json.loads(json.dumps(load.flat()))


def test_a_relay_that_is_full_is_one_line():
    with own_relay(members=2) as target, pytest.raises(ServeError, match="room is full"):
        relay.measure(target, rooms=1, speakers=2, seconds=0.8)
