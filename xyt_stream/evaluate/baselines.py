"""Runs well-known codecs, through their own programs, as baselines for `eval`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xyt_stream.audio import (
    INPUT_RATE,
    Samples,
    fit_length,
    read_audio,
    resample,
    to_float32,
    to_int16,
    write_audio,
)

CODEC2_RATE = 8_000  # Hz
CODEC2_DELAY = 160  # samples at its rate; its decoder is one 20 ms frame late


@dataclass(frozen=True)
class Baseline:
    """A codec at one bit rate.

    Args:
        name: of the codec, with its nominal bit rate.
        programs: executables that must be on the path.
        package: the Debian package that installs them.
        roundtrip: encodes and decodes float32 [samples] at 16 kHz; the result is aligned and as
            long.
    """

    name: str
    programs: tuple[str, ...]
    package: str
    roundtrip: Callable[[Samples], Samples]

    @property
    def installed(self) -> bool:
        """Whether its programs are on the path."""
        return all(map(shutil.which, self.programs))


def codec2(mode: int) -> Baseline:
    """Returns Codec2 at 700 to 3200 bits a second, telephone band."""

    def roundtrip(samples: Samples) -> Samples:
        narrow = to_int16(resample(samples, INPUT_RATE, CODEC2_RATE))
        padded = np.pad(narrow, (0, 4 * CODEC2_DELAY)).astype("<i2")
        with tempfile.TemporaryDirectory() as folder:
            raw, bits, out = (Path(folder) / name for name in ("in", "bits", "out"))
            raw.write_bytes(padded.tobytes())
            _run("c2enc", str(mode), raw, bits)
            _run("c2dec", str(mode), bits, out)
            decoded = to_float32(np.fromfile(out, "<i2"))[CODEC2_DELAY:]
        return fit_length(resample(decoded, CODEC2_RATE, INPUT_RATE), len(samples))

    return Baseline(f"Codec2 {mode} b/s", ("c2enc", "c2dec"), "codec2", roundtrip)


def opus(kilobits: int) -> Baseline:
    """Returns Opus at a low bit rate; 6 kb/s is its lowest."""

    def roundtrip(samples: Samples) -> Samples:
        with tempfile.TemporaryDirectory() as folder:
            wav, bits, out = (Path(folder) / name for name in ("in.wav", "a.opus", "out.wav"))
            write_audio(wav, samples, INPUT_RATE)
            _run("opusenc", "--quiet", "--bitrate", str(kilobits), wav, bits)
            _run("opusdec", "--quiet", "--rate", str(INPUT_RATE), bits, out)
            decoded, _ = read_audio(out, INPUT_RATE)
        return fit_length(decoded, len(samples))

    return Baseline(f"Opus {kilobits} kb/s", ("opusenc", "opusdec"), "opus-tools", roundtrip)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


BASELINES = (codec2(1200), codec2(2400), opus(6))
