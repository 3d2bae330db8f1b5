"""Plots the training log (extra "train")."""

from __future__ import annotations

import json
from pathlib import Path

from xyt_stream.errors import MissingExtraError

try:
    from matplotlib.figure import Figure
except ImportError:
    raise MissingExtraError("Training curves", "train") from None


def draw(log: Path, path: Path) -> None:
    """Draws one panel for each figure in `log.jsonl`, over the steps.

    Args:
        log: one JSON object a line, each with "step".
        path: a png, written anew.
    """
    records = [json.loads(line) for line in log.read_text().splitlines()]
    names = sorted({name for record in records for name in record} - {"step"})
    figure = Figure(figsize=(8, 2 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        points = [(record["step"], record[name]) for record in records if name in record]
        axes.plot(*zip(*points, strict=True), marker=".")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("step")
    figure.savefig(path)
