"""Codecs people know, through their own programs, on the same recordings."""

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
CODEC2_DELAY = 160  # samples at its rate: its decoder gives a 20 ms frame out after the next


@dataclass(frozen=True)
class Peer:
    """A codec at one bit rate.

    Args:
        name: with the bit rate it is asked for.
        programs: what must be on the path.
        package: the Debian package that brings them.
        through: float32 [samples] at 16 kHz -> the same, decoded and aligned.
    """

    name: str
    programs: tuple[str, ...]
    package: str
    through: Callable[[Samples], Samples]

    @property
    def installed(self) -> bool:
        """Whether its programs are there."""
        return all(map(shutil.which, self.programs))


def codec2(mode: int) -> Peer:
    """Codec2 at 700 to 3200 bits a second, telephone band."""

    def through(samples: Samples) -> Samples:
        narrow = to_int16(resample(samples, INPUT_RATE, CODEC2_RATE))
        padded = np.pad(narrow, (0, 4 * CODEC2_DELAY)).astype("<i2")
        with tempfile.TemporaryDirectory() as folder:
            raw, bits, out = (Path(folder) / name for name in ("in", "bits", "out"))
            raw.write_bytes(padded.tobytes())
            _run("c2enc", str(mode), raw, bits)
            _run("c2dec", str(mode), bits, out)
            decoded = to_float32(np.fromfile(out, "<i2"))[CODEC2_DELAY:]
        return fit_length(resample(decoded, CODEC2_RATE, INPUT_RATE), len(samples))

    return Peer(f"Codec2 {mode} b/s", ("c2enc", "c2dec"), "codec2", through)


def opus(kilobits: int) -> Peer:
    """Opus at a low bit rate; 6 kb/s is its least."""

    def through(samples: Samples) -> Samples:
        with tempfile.TemporaryDirectory() as folder:
            wav, bits, out = (Path(folder) / name for name in ("in.wav", "a.opus", "out.wav"))
            write_audio(wav, samples, INPUT_RATE)
            _run("opusenc", "--quiet", "--bitrate", str(kilobits), wav, bits)
            _run("opusdec", "--quiet", "--rate", str(INPUT_RATE), bits, out)
            decoded, _ = read_audio(out, INPUT_RATE)
        return fit_length(decoded, len(samples))

    return Peer(f"Opus {kilobits} kb/s", ("opusenc", "opusdec"), "opus-tools", through)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


PEERS = (codec2(1200), codec2(2400), opus(6))
