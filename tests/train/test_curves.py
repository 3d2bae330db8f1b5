from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("matplotlib")

from xyt_stream.train.curves import draw


def drawn(tmp_path, records):
    """The figures' names and how many points each has, from the top panel down."""
    log, picture = tmp_path / "log.jsonl", tmp_path / "curves.svg"
    log.write_text("\n".join(map(json.dumps, records)))
    draw(log, picture)
    panels = picture.read_text().split('<g id="axes_')[1:]
    lines = [panel.split('<g id="line2d_')[-1] for panel in panels]
    names = [set(re.findall(r"<!-- ([a-z]+) -->", panel)) - {"step"} for panel in panels]
    return [(name.pop(), line.count("<use ")) for name, line in zip(names, lines, strict=True)]


def test_each_figure_has_a_panel_with_its_points(tmp_path):
    records = [{"step": step, "mel": 1 / step} for step in (1, 2, 3)]
    assert drawn(tmp_path, records) == [("mel", 3)]
    records[2]["stoi"] = 0.8  # is not scored at every step
    assert drawn(tmp_path, records) == [("mel", 3), ("stoi", 1)]
