"""Figures as pictures (extra "bench")."""

from __future__ import annotations

from pathlib import Path

from xyt_stream.bench.codec import Comparison
from xyt_stream.bench.lookahead import Tradeoff
from xyt_stream.bench.timing import ran_on
from xyt_stream.errors import MissingExtraError, XYTError

try:
    from matplotlib.figure import Figure
except ImportError:
    raise MissingExtraError("Plots", "bench") from None


def draw(tradeoff: Tradeoff, path: Path) -> None:
    """Writes the picture; the name's ending chooses png, svg or pdf.

    Raises:
        XYTError: the ending is unknown.
    """
    figure = Figure(figsize=(7, 7), layout="constrained")
    figure.suptitle(f"{tradeoff.model}: live against offline")
    codes, sound = figure.subplots(2)
    points = tradeoff.points
    for book in range(len(points[0].equal_codes)):
        codes.plot(
            [point.encoder_delay_ms for point in points],
            [100 * point.equal_codes[book] for point in points],
            marker="o",
            label=f"book {book + 1}",
        )
    codes.set(xlabel="encoder delay, ms", ylabel="codes equal to offline, %")
    codes.legend(fontsize="small", ncols=2)
    delays = [point.decoder_delay_ms for point in points]
    sound.plot(delays, [point.snr_db for point in points], marker="o")
    sound.set(xlabel="decoder delay, ms", ylabel="SNR against offline, same codes, dB")
    for axes in (codes, sound):
        axes.grid(alpha=0.3)
    _save(figure, path)


def draw_steps(comparison: Comparison, path: Path) -> None:
    """Writes a picture of each contender's time per stream, by the number of streams.

    Raises:
        XYTError: the ending is unknown.
    """
    figure = Figure(figsize=(7, 5), layout="constrained")
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
        xlabel="streams side by side",
        ylabel="ms a stream, median to p99",
        xscale="log",
        yscale="log",
    )
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path)
    except ValueError as error:
        raise XYTError(f"cannot draw {path}: {error}") from error
