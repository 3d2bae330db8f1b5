from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from xyt_stream.client.jitter import JitterBuffer
from xyt_stream.client.report import KEPT, Latency, LoopbackReport, Recorder, WireReport
from xyt_stream.client.traffic import Traffic
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Delay, End, Model, Ready, StepTimes

READY = Ready(
    session="1",
    role="loopback",
    send="pcm",
    receive=("pcm", "codes"),
    send_rate=16_000,
    receive_rate=16_000,
    frame_ms=80,
    delay_ms=Delay(encode=80, decode=10),
    model=Model(
        name="m",
        hash="0",
        codebooks=8,
        codebook_size=1024,
        input_rate=16_000,
        output_rate=16_000,
        causal=True,
    ),
)


def test_figures_of_a_run_without_end_take_no_more_memory():
    latency = Latency(1, clock=lambda: 0.0)
    for frame in range(3 * KEPT):
        latency.sent(1)
        latency.arrived(frame)
    assert len(latency.values) == KEPT


def test_latency_runs_from_last_sample_to_audio():
    now = 0.0
    latency = Latency(100, clock=lambda: now)
    latency.sent(99)
    latency.arrived(0)  # cannot be: it is not complete
    now = 1.0
    latency.sent(1)
    now = 1.5
    latency.sent(250)
    now = 1.75
    latency.arrived(0)
    latency.arrived(0)  # its second message does not count
    latency.arrived(1)
    now = 2.0
    latency.arrived(2)
    latency.arrived(3)
    assert list(latency.values) == [0.75, 0.25, 0.5]


def test_report_sums_up_a_session():
    recorder, buffer = Recorder(READY), JitterBuffer(16_000)
    for frame in range(25):
        recorder.sent(1280)
        recorder.arrived(Codes(frame, np.zeros((8, 1), np.int64)), buffer)
        recorder.arrived(Pcm(frame, np.zeros(1280, np.int16)), buffer)
        buffer.push(np.zeros(160, np.int16))
    recorder.arrived(End(frames=25, samples=32_000, step_ms=StepTimes(median=4, p99=9)), buffer)
    report = recorder.report(buffer, "out.wav", "here", WireReport(1.0, 2900.0, 2500.0))
    assert (report.seconds, report.frames) == (2.0, 25)
    assert report.wire_bits_per_second == 1000
    assert report.delay_ms == {"encode": 80, "decode": 10}
    assert report.step_ms == {"median": 4, "p99": 9}
    assert report.latency_ms is not None
    assert 0 <= report.latency_ms["p50"] <= report.latency_ms["p99"]
    assert report.jitter_ms == pytest.approx(120)
    console = Console(record=True, width=100)
    console.print(report.table())
    text = console.export_text()
    for part in ("2.00 s, 25 frames", "1000 bits", "90 ms", "median 4.0 ms", "out.wav"):
        assert part in text


def test_report_without_a_whole_frame_has_a_table():
    report = Recorder(READY).report(
        JitterBuffer(16_000), "nowhere", "server", WireReport.of(Traffic(), 0.0)
    )
    assert (report.seconds, report.frames, report.latency_ms) == (0, 0, None)
    assert isinstance(report, LoopbackReport)
    Console(record=True).print(report.table())


def test_one_sample_is_one_frame_at_the_usual_rate():
    recorder, buffer = Recorder(READY), JitterBuffer(16_000)
    recorder.sent(1)
    recorder.arrived(Codes(0, np.zeros((8, 1), np.int64)), buffer)
    report = recorder.report(buffer, "[/x].wav", "here", WireReport(1.0, 2900.0, 2500.0))
    assert report.wire_bits_per_second == 1000
    console = Console(record=True, width=100, markup=False)
    console.print(report.table())
    text = console.export_text()
    assert "1 frame " in text
    assert "[/x].wav" in text
