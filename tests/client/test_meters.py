from __future__ import annotations

import numpy as np

from xyt_stream.client.jitter import JitterBuffer
from xyt_stream.client.meters import Meters, level_bar
from xyt_stream.client.traffic import Traffic


def test_level_bar_rises_with_the_level():
    heights = [
        level_bar(np.full(320, level, np.int16)) for level in (0, 60, 300, 3000, 10_000, 32_767)
    ]
    assert heights[0] == " "
    assert heights[-1] == "█"
    assert heights == sorted(heights)
    assert len(set(heights)) == len(heights)
    assert level_bar(np.zeros(0, np.int16)) == " "


def test_the_line_says_state_bits_and_latency():
    now = 0.0
    meters = Meters("speaker", None, idle="nobody speaks", clock=lambda: now)
    assert "nobody speaks" in meters.line
    traffic = Traffic()
    for _ in range(20):  # 125 bytes a second come, 25 go
        meters.sound(np.zeros(320, np.int16), 16_000)
        meters.traffic(traffic)
        now += 0.4
        traffic.received += 50
        traffic.sent += 10
    meters.traffic(traffic)
    meters.network(0.0123)
    meters.latency(JitterBuffer(16_000), None)
    assert "live" in meters.line
    assert "kbit/s 0.2 out, 1.0 in" in meters.line
    assert "ping 12 ms" in meters.line
    assert "buffer 0 ms" in meters.line
    meters.latency(JitterBuffer(16_000), 0.12)
    assert "latency 120 ms" in meters.line
    meters.interrupted(True)
    assert "reconnecting" in meters.line
    meters.interrupted(False)
    now += 2
    meters.traffic(traffic)
    assert "nobody speaks" in meters.line


def test_the_line_of_a_mic_says_how_many_listen():
    meters = Meters("mic", None)
    assert "live" in meters.line
    for count, says in ((0, "nobody listens"), (1, "1 listens"), (12, "12 listen")):
        meters.listeners(count)
        assert f"live, {says}" in meters.line
    meters.interrupted(True)
    assert "listen" not in meters.line


def test_notices_are_printed(capsys):
    with Meters("speaker", None) as meters:
        meters.sound(np.zeros(320, np.int16), 16_000)
        meters.latency(JitterBuffer(16_000), None)
        meters.notice("You read too slowly.")
    assert "You read too slowly." in capsys.readouterr().err


def test_the_name_of_a_room_may_look_like_markup(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Meters("mic in [/kitchen] :smile:", None) as meters:
        assert meters.visible
        meters.sound(np.zeros(320, np.int16), 16_000)
    assert "[/kitchen] :smile:" in capsys.readouterr().err
