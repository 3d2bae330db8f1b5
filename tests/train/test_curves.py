from __future__ import annotations

import json

import pytest

from xyt_stream.train.curves import draw


def test_draws_what_the_log_holds(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    log = tmp_path / "log.jsonl"
    records = [{"step": step, "mel": 1 / step} for step in (1, 2, 3)]
    log.write_text("\n".join(map(json.dumps, records)))
    draw(log, tmp_path / "one.png")
    records[2]["stoi"] = 0.8  # scored now and then only
    log.write_text("\n".join(map(json.dumps, records)))
    draw(log, tmp_path / "two.png")
    one, two = (image.imread(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert two.shape[0] == 2 * one.shape[0]
    assert one.std() > 0
