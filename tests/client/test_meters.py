from __future__ import annotations

import numpy as np

from xyt_stream.client.jitter import JitterBuffer
from xyt_stream.client.meters import Meters, level_bar


def test_level_bar_rises_with_the_level():
    heights = [
        level_bar(np.full(320, level, np.int16)) for level in (0, 60, 300, 3000, 10_000, 32_767)
    ]
    assert heights[0] == " "
    assert heights[-1] == "█"
    assert heights == sorted(heights)
    assert len(set(heights)) == len(heights)
    assert level_bar(np.zeros(0, np.int16)) == " "


def test_notices_are_printed(capsys):
    with Meters("speaker", None) as meters:
        meters.sound(np.zeros(320, np.int16), 16_000)
        meters.jitter(JitterBuffer(16_000))
        meters.notice("You read too slowly.")
    assert "You read too slowly." in capsys.readouterr().err
