"""Draws spectrograms, codebook usage and lookahead curves (extra "bench")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import INPUT_RATE, Samples
from xyt_stream.errors import MissingExtraError, XYTError

if TYPE_CHECKING:
    from xyt_stream.evaluate.lookahead import LookaheadAblation

try:
    from matplotlib.figure import Figure
except ImportError:
    raise MissingExtraError("Plots", "bench") from None

WINDOW, HOP = 512, 128  # samples of a spectrogram at 16 kHz


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose axes and legends do not overlap."""
    return Figure(figsize=(width, height), layout="constrained")


def draw_spectrograms(sounds: Mapping[str, Samples], path: Path) -> None:
    """Draws one spectrogram below the other, on one colour scale.

    Args:
        sounds: title -> float32 [samples] at 16 kHz.
    """
    figure = new_figure(9, 5)
    panels = figure.subplots(len(sounds), sharex=True)
    for axes, (title, samples) in zip(panels, sounds.items(), strict=True):
        axes.specgram(
            samples, NFFT=WINDOW, Fs=INPUT_RATE, noverlap=WINDOW - HOP, vmin=-120, vmax=-30
        )
        axes.set(title=title, ylabel="Hz")
    panels[-1].set_xlabel("seconds")
    save(figure, path)


def spectrogram_writer(folder: Path, model: str) -> Callable[[str, Samples, Samples], None]:
    """Returns a function that draws a file's original and decoded sound into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, original: Samples, decoded: Samples) -> None:
        sounds = {name: original, f"{model}, decoded": decoded}
        draw_spectrograms(sounds, folder / f"{name.replace('/', '-')}.png")

    return write


def draw_codes(counts: npt.NDArray[np.int64], path: Path) -> None:
    """Draws how often each code of each codebook occurred, the most frequent code first.

    Args:
        counts: int64 [codebooks, codebook_size].
    """
    figure = new_figure(8, 4)
    axes = figure.subplots()
    for number, codebook in enumerate(counts, start=1):
        axes.plot(np.sort(codebook)[::-1] + 1, label=f"codebook {number}")
    axes.set(yscale="log", xlabel="codes, most frequent first", ylabel="occurrences + 1")
    axes.legend(ncols=2, fontsize="small")
    save(figure, path)


def draw_lookahead(ablation: LookaheadAblation, path: Path) -> None:
    """Draws agreement with the offline codes and sound against delay.

    Raises:
        XYTError: as `save`.
    """
    figure = new_figure(7, 7)
    figure.suptitle(f"{ablation.model}: live against offline")
    codes, sound = figure.subplots(2)
    points = ablation.points
    for codebook in range(len(points[0].equal_codes)):
        codes.plot(
            [point.encoder_delay_ms for point in points],
            [100 * point.equal_codes[codebook] for point in points],
            marker="o",
            label=f"codebook {codebook + 1}",
        )
    codes.set(xlabel="encoder delay, ms", ylabel="codes equal to offline, %")
    codes.legend(fontsize="small", ncols=2)
    delays = [point.decoder_delay_ms for point in points]
    sound.plot(delays, [point.snr_db for point in points], marker="o")
    sound.set(xlabel="decoder delay, ms", ylabel="SNR against offline, same codes, dB")
    for axes in (codes, sound):
        axes.grid(alpha=0.3)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Writes the picture as png, svg or pdf, by the name's ending.

    Raises:
        XYTError: the ending is unknown.
    """
    try:
        figure.savefig(path)
    except ValueError as error:
        raise XYTError(f"cannot draw {path}: {error}") from error
