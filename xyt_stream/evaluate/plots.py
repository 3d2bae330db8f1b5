"""Pictures of an evaluation: what was heard beside what was decoded, and how codes are used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import INPUT_RATE, read_audio, resample
from xyt_stream.errors import MissingExtraError
from xyt_stream.evaluate.listen import decode_clip, encode_clip

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

try:
    from matplotlib.figure import Figure
except ImportError:
    raise MissingExtraError("Plots", "eval") from None

WINDOW, HOP = 512, 128  # samples of a spectrogram at 16 kHz


def draw_spectrograms(codec: Codec, clip: Path, path: Path, lookahead: int | None = 0) -> None:
    """The original above, the decoded below, on one scale."""
    original, _ = read_audio(clip, INPUT_RATE)
    sound = decode_clip(codec, encode_clip(codec, original, lookahead), lookahead)
    decoded = resample(sound.cpu().numpy(), codec.output_rate, INPUT_RATE)
    figure = Figure(figsize=(9, 5), layout="constrained")
    panels = figure.subplots(2, sharex=True)
    for axes, name, samples in zip(
        panels, (clip.name, f"{codec.name}, decoded"), (original, decoded), strict=True
    ):
        axes.specgram(
            samples, NFFT=WINDOW, Fs=INPUT_RATE, noverlap=WINDOW - HOP, vmin=-120, vmax=-30
        )
        axes.set(title=name, ylabel="Hz")
    panels[1].set_xlabel("seconds")
    figure.savefig(path)


def draw_codes(counts: npt.NDArray[np.int64], path: Path) -> None:
    """How often each code of each book occurred, the most frequent first."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for number, book in enumerate(counts, start=1):
        axes.plot(np.sort(book)[::-1] + 1, label=f"book {number}")
    axes.set(yscale="log", xlabel="codes, most frequent first", ylabel="occurrences + 1")
    axes.legend(ncols=2, fontsize="small")
    figure.savefig(path)
