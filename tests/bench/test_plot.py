from __future__ import annotations

import importlib
import math
import sys

import pytest

from xyt_stream.bench import plot
from xyt_stream.bench.lookahead import Point, Tradeoff
from xyt_stream.errors import MissingExtraError, XYTError

POINTS = [
    Point(
        lookahead=n,
        encoder_delay_ms=92.5 + 80 * n,
        decoder_delay_ms=15 + 80 * n,
        equal_codes=[0.5, 1.0],
        snr_db=snr,
        step_ms={"median": 1.0, "p99": 2.0},
    )
    for n, snr in ((0, 3.0), (1, math.inf))
]
TRADEOFF = Tradeoff("some model", "cpu", 1, 2.0, POINTS)


def test_a_picture_is_drawn(tmp_path):
    plot.draw(TRADEOFF, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    plot.draw(TRADEOFF, tmp_path / "a.svg")
    assert "encoder delay, ms" in (tmp_path / "a.svg").read_text()


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(XYTError, match=r"a\.wav"):
        plot.draw(TRADEOFF, tmp_path / "a.wav")


def test_without_the_extra_its_name_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"xyt-stream\[bench\]"):
        importlib.reload(plot)
