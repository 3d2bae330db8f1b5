"""Computes published measures of decoded speech against the original (extra "eval")."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import INPUT_RATE, Samples
from xyt_stream.errors import AudioError, MissingExtraError
from xyt_stream.evaluate.similarity import speaker_similarity
from xyt_stream.model.features import slaney_mels

MEL_WINDOW = 1024  # samples
MEL_FLOOR = 1e-4  # power; quieter sound is inaudible


def stoi(reference: Samples, degraded: Samples, rate: int = INPUT_RATE) -> float:
    """Returns short-time objective intelligibility, 0 to 1 (Taal et al., 2011), by pystoi.

    Args:
        reference: float [samples], the original.
        degraded: float [samples], aligned with it.
        rate: Hz of both.

    Raises:
        AudioError: the lengths differ, or there is too little speech (less than about 0.4 s).
        MissingExtraError: pystoi is not installed.
    """
    try:
        import pystoi
    except ImportError:
        raise MissingExtraError("Quality measures", "eval") from None
    _check(reference, degraded)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(reference, degraded, rate))
        except (RuntimeWarning, ValueError):
            raise AudioError("STOI cannot score so little speech") from None


def pesq(
    reference: Samples,
    degraded: Samples,
    rate: int = INPUT_RATE,
    mode: Literal["wb", "nb"] = "wb",
) -> float:
    """Returns perceptual quality, about 1 to 4.6 (ITU-T P.862; wide band P.862.2), by pesq.

    Args:
        reference: float [samples], the original.
        degraded: float [samples], aligned with it.
        rate: Hz of both: 16000, or 8000 for narrow band.
        mode: "wb" covers 50 to 7000 Hz, "nb" the telephone band.

    Raises:
        AudioError: the lengths differ, or there is no speech.
        MissingExtraError: pesq is not installed.
    """
    try:
        import pesq as package
    except ImportError:
        raise MissingExtraError("Quality measures", "eval") from None
    _check(reference, degraded)
    if not degraded.any():
        raise AudioError("PESQ cannot score silence")
    try:
        return float(package.pesq(rate, reference, degraded, mode))
    except package.PesqError as error:
        raise AudioError(f"PESQ cannot score this sound: {error.args[0].decode()}") from None


def mel_distance(reference: Samples, degraded: Samples, rate: int = INPUT_RATE) -> float:
    """Returns the mean absolute difference of 80-bin log-mel spectra, dB, above about -60 dBFS.

    Args:
        reference, degraded: float [samples], aligned.
        rate: Hz of both.

    Raises:
        AudioError: the lengths differ, or there is less than one window of sound.
    """
    _check(reference, degraded)
    if len(reference) < MEL_WINDOW:
        raise AudioError("there is too little sound for a mel spectrum")
    filters = slaney_mels(80, MEL_WINDOW, rate).numpy()

    def mel(samples: Samples) -> npt.NDArray[np.floating[Any]]:
        windows = np.lib.stride_tricks.sliding_window_view(samples, MEL_WINDOW)[:: MEL_WINDOW // 4]
        power = np.abs(np.fft.rfft(windows * np.hanning(MEL_WINDOW))) ** 2 @ filters
        decibels: npt.NDArray[np.floating[Any]] = 10 * np.log10(np.maximum(power, MEL_FLOOR))
        return decibels

    return float(np.abs(mel(reference) - mel(degraded)).mean())


def _check(reference: Samples, degraded: Samples) -> None:
    if len(reference) != len(degraded):
        raise AudioError(
            f"sounds of {len(reference)} and {len(degraded)} samples cannot be compared"
        )


def check_installed() -> None:
    """Checks that every measure can be computed, before a long run begins.

    Raises:
        MissingExtraError: a package is not installed.
    """
    for package in ("pystoi", "pesq", "resemblyzer"):
        if find_spec(package) is None:
            raise MissingExtraError("Quality measures", "eval")


Measure: TypeAlias = Callable[[Samples, Samples], float]

# The measures that `eval` reports, by their names in JSON; all at 16 kHz.
MEASURES: dict[str, Measure] = {
    "stoi": stoi,
    "pesq_wb": pesq,
    "pesq_nb": partial(pesq, mode="nb"),
    "sim": speaker_similarity,
    "mel_db": mel_distance,
}
