"""Draws spectrograms, codebook usage and lookahead curves (extra "bench")."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import INPUT_RATE, read_audio, resample
from xyt_stream.errors import MissingExtraError, XYTError
from xyt_stream.streaming.clips import decode_clip, encode_clip

if TYPE_CHECKING:
    from xyt_stream.evaluate.lookahead import LookaheadAblation
    from xyt_stream.streaming.codec import Codec

try:
    from matplotlib.figure import Figure
except ImportError:
    raise MissingExtraError("Plots", "bench") from None

WINDOW, HOP = 512, 128  # samples of a spectrogram at 16 kHz


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose axes and legends do not overlap."""
    return Figure(figsize=(width, height), layout="constrained")


def draw_spectrograms(codec: Codec, clip: Path, path: Path, lookahead: int | None = 0) -> None:
    """Draws the original above the decoded sound, on one colour scale."""
    original, _ = read_audio(clip, INPUT_RATE)
    sound = decode_clip(codec, encode_clip(codec, original, lookahead), lookahead)
    decoded = resample(sound.cpu().numpy(), codec.output_rate, INPUT_RATE)
    figure = new_figure(9, 5)
    panels = figure.subplots(2, sharex=True)
    for axes, name, samples in zip(
        panels, (clip.name, f"{codec.name}, decoded"), (original, decoded), strict=True
    ):
        axes.specgram(
            samples, NFFT=WINDOW, Fs=INPUT_RATE, noverlap=WINDOW - HOP, vmin=-120, vmax=-30
        )
        axes.set(title=name, ylabel="Hz")
    panels[1].set_xlabel("seconds")
    save(figure, path)


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
