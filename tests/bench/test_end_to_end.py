from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream.audio import to_float32
from xyt_stream.bench import end_to_end
from xyt_stream.bench.lag import clicks
from xyt_stream.bench.latency_parts import FrameTimes, ServerTotals, parts_ms, step_times
from xyt_stream.protocol.messages import Delay, Model, Ready
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

STEPS = ({"median": 10.0, "p99": 0.0}, {"median": 20.0, "p99": 0.0})


def ready(encode_ms, decode_ms):
    model = Model(
        name="m",
        hash="h",
        codebooks=8,
        codebook_size=1024,
        input_rate=16_000,
        output_rate=16_000,
        causal=False,
    )
    return Ready(
        session="s",
        role="loopback",
        send="pcm",
        receive=("pcm",),
        send_rate=16_000,
        receive_rate=16_000,
        frame_ms=80.0,
        delay_ms=Delay(encode=encode_ms, decode=decode_ms),
        model=model,
    )


def test_lookahead_is_a_part_of_the_turnaround():
    """Both halves look two frames ahead, the encoder 12.5 ms more: one more block of 20 ms."""
    frames = [FrameTimes(0.0, 0.39, 0.1, 0.01), FrameTimes(0.002, 0.41, 0.1, 0.01)]
    server = ServerTotals(11, 0.4, 12, 0.5) - ServerTotals(1, 0.1, 2, 0.1)
    parts = parts_ms(ready(252.5, 170.0), frames, server, STEPS)
    assert parts == pytest.approx(
        {
            "frame": 80,
            "capture": 1,
            "lookahead": 340,
            "network": 20,
            "queue": 10,
            "encode": 10,
            "decode": 20,
            "overlap-add": 10,
            "jitter buffer": 100,
            "device": 10,
        }
    )


def test_a_negative_part_is_a_fault():
    server = ServerTotals(10, 0.3, 10, 0.4)
    for turnaround, fault in ((0.05, None), (0.03, "contradict each other (network)")):
        frames = [FrameTimes(0.0, turnaround, 0.1, 0.01)]
        recorded = end_to_end._Recorded(
            ready(80.0, 10.0), frames, server, 0, end_to_end.JitterBuffer(16_000), np.zeros(9)
        )
        parts = parts_ms(recorded.ready, frames, server, STEPS)
        found = end_to_end._fault(recorded, parts)
        assert found == fault if fault is None else fault in found


@pytest.fixture
async def url(request, published):
    """A server of a bidirectional model with a lookahead, by default 0."""
    limits = Limits(load=0)
    lookahead = getattr(request, "param", 0)
    async with running(published, max_sessions=1, lookahead=lookahead, limits=limits) as server:
        yield server.url


@pytest.mark.parametrize("url", [0, 1, 2], indirect=True)
async def test_the_parts_add_up_to_the_latency_of_the_sound(url, published, request):
    """Through a real server, for each lookahead."""
    lookahead = request.node.callspec.params["url"]
    sent = clicks(1.5)
    encoder = published.stream_encoder(lookahead=lookahead)
    decoder = published.stream_decoder(lookahead=lookahead)
    codes = np.concatenate([encoder.push(to_float32(sent)), encoder.flush()], axis=1)
    expected = np.concatenate([decoder.push(codes), decoder.flush()])
    faults = []
    for _ in range(5):  # a jitter buffer that runs dry on a busy machine changes the latency
        run = await asyncio.to_thread(
            end_to_end.measure, url, sent, STEPS, expected=expected, target=0.5, tries=1
        )
        assert run.parts["lookahead"] == 20 + 160 * lookahead
        if "jitter buffer" not in (run.fault or ""):
            assert run.total_ms == pytest.approx(run.mouth_to_ear_ms, abs=2)
            waits = [frame.turnaround for frame in run.frames]
            assert min(waits) >= 0.160 * lookahead + 0.0125  # none came by the flush at the end
            return
        faults.append(run.fault)
    pytest.skip(f"this machine is too busy to measure: {faults}")


async def test_invalid_runs_are_repeated_and_marked(url):
    """Step times below zero make every run contradict itself, whatever else the machine does."""
    faults = []
    impossible = ({"median": -10.0, "p99": 0.0}, {"median": 20.0, "p99": 0.0})
    run = await asyncio.to_thread(
        end_to_end.measure, url, clicks(0.3), impossible, tries=2, on_fault=faults.append
    )
    assert len(faults) == 2
    assert all(faults)
    assert run.fault == faults[-1]


def test_step_times_are_of_both_halves(codec):
    for times in step_times(codec, steps=3):
        assert 0 < times["median"] <= times["p99"]
