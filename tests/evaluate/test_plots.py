from __future__ import annotations

import importlib
import math
import sys

import numpy as np
import pytest

from xyt_stream.audio import read_audio
from xyt_stream.errors import MissingExtraError, XYTError
from xyt_stream.evaluate.lookahead import LookaheadAblation, LookaheadPoint

plots = pytest.importorskip("xyt_stream.evaluate.plots", exc_type=ImportError)

POINTS = [
    LookaheadPoint(
        lookahead=n,
        encoder_delay_ms=92.5 + 80 * n,
        decoder_delay_ms=15 + 80 * n,
        equal_codes=[0.5, 1.0],
        snr_db=snr,
        step_ms={"median": 1.0, "p99": 2.0},
    )
    for n, snr in ((0, 3.0), (1, math.inf))
]
ABLATION = LookaheadAblation("some model", "cpu", 1, 2.0, POINTS)


def test_spectrograms_are_drawn_one_below_the_other(fixtures, tmp_path):
    samples, _ = read_audio(fixtures / "speech.flac")
    plots.draw_spectrograms({"first": samples, "second": samples / 2}, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn.index("<!-- first -->") < drawn.index("<!-- second -->")
    assert drawn.count("<image") == 2  # a spectrogram in each


def test_each_codebook_has_a_line_in_the_usage_plot(tmp_path):
    plots.draw_codes(np.arange(24).reshape(3, 8), tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert [f"codebook {n}" in drawn for n in (1, 2, 3, 4)] == [True, True, True, False]


def test_lookahead_is_drawn_against_delay(tmp_path):
    plots.draw_lookahead(ABLATION, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    plots.draw_lookahead(ABLATION, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    for words in ("some model", "encoder delay, ms", "decoder delay, ms", "codebook 2"):
        assert words in drawn


def test_unknown_ending_is_refused(tmp_path):
    with pytest.raises(XYTError, match=r"a\.wav"):
        plots.draw_lookahead(ABLATION, tmp_path / "a.wav")


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"xyt-stream\[bench\]"):
        importlib.reload(plots)
