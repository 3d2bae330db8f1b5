from __future__ import annotations

import numpy as np
import pytest

image = pytest.importorskip("matplotlib.image")


def test_pictures_are_drawn(codec, fixtures, tmp_path):
    from xyt_stream.evaluate.plots import draw_codes, draw_spectrograms

    draw_spectrograms(codec, fixtures / "speech.flac", tmp_path / "spectrograms.png")
    draw_codes(np.arange(16).reshape(2, 8), tmp_path / "codes.png")
    for name in ("spectrograms", "codes"):
        assert image.imread(tmp_path / f"{name}.png").std() > 0
