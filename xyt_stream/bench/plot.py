"""Draws the times of `bench codec` (extra "bench")."""

from __future__ import annotations

from pathlib import Path

from xyt_stream.bench.codec_figures import Comparison
from xyt_stream.evaluate.plots import new_figure, save
from xyt_stream.evaluate.timing import ran_on


def draw_steps(comparison: Comparison, path: Path) -> None:
    """Draws each codec's time per stream against the number of streams.

    Raises:
        XYTError: the file name's ending is unknown.
    """
    figure = new_figure(7, 5)
    axes = figure.subplots()
    for name in dict.fromkeys(result.name for result in comparison.results):
        results = [result for result in comparison.results if result.name == name]
        counts = [result.streams for result in results]
        each = [(result.both["median"], result.both["p99"]) for result in results]
        medians = [median / n for (median, _), n in zip(each, counts, strict=True)]
        above = [(p99 - median) / n for (median, p99), n in zip(each, counts, strict=True)]
        whiskers = [[0.0] * len(above), above]
        axes.errorbar(counts, medians, whiskers, label=name, marker="o", capsize=3)
    axes.axhline(80, color="grey", linestyle=":", label="real time, one stream")
    axes.set(
        title=f"one 80 ms frame, {ran_on(comparison.device, comparison.threads)}",
        xlabel="streams",
        ylabel="ms per stream, median to p99",
        xscale="log",
        yscale="log",
    )
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    save(figure, path)
