"""Fidelity against latency as a picture (extra "bench")."""

from __future__ import annotations

from pathlib import Path

from xyt_stream.bench.lookahead import Tradeoff
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
    try:
        figure.savefig(path)
    except ValueError as error:
        raise XYTError(f"cannot draw {path}: {error}") from error
