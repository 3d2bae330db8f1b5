"""Handles sound as arrays: sample rates and frame sizes, sound files, and resampling.

Inside the package sound is mono float32, full scale at +-1, in arrays of shape [samples]. Files and
wires hold 16-bit integers; `to_int16` and `to_float32` are the one mapping between the two.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from xyt_stream.audio.clips import SUFFIXES, find_clips
from xyt_stream.audio.resampling import FileResampler, ResamplerState, StreamResampler, resample
from xyt_stream.audio.samples import (
    FILE_RATES,
    FRAME_SAMPLES,
    FRAME_SECONDS,
    FULL_SCALE,
    INPUT_RATE,
    Pcm16,
    Samples,
    fit_length,
    scaled_length,
    to_float32,
    to_int16,
)

if TYPE_CHECKING:
    from xyt_stream.audio.reading import SoundInfo, SoundReader, read_audio
    from xyt_stream.audio.writing import SoundWriter, check_target, write_audio

__all__ = [
    "FILE_RATES",
    "FRAME_SAMPLES",
    "FRAME_SECONDS",
    "FULL_SCALE",
    "INPUT_RATE",
    "SUFFIXES",
    "FileResampler",
    "Pcm16",
    "ResamplerState",
    "Samples",
    "SoundInfo",
    "SoundReader",
    "SoundWriter",
    "StreamResampler",
    "check_target",
    "find_clips",
    "fit_length",
    "read_audio",
    "resample",
    "scaled_length",
    "to_float32",
    "to_int16",
    "write_audio",
]

_FILES = {  # module of each name that needs soundfile; loaded when used: a server reads no files
    **dict.fromkeys(("SoundInfo", "SoundReader", "read_audio"), "reading"),
    **dict.fromkeys(("SoundWriter", "check_target", "write_audio"), "writing"),
}


def __getattr__(name: str) -> object:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
