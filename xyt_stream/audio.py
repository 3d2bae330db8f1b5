"""Sound as arrays: sample rates and frame sizes, sound files, and resampling.

Inside the package sound is mono float32, full scale at +-1, in arrays of shape [samples]. Files and
wires hold 16-bit integers; `to_int16` and `to_float32` are the one mapping between the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from xyt_stream.errors import AudioError

INPUT_RATE = 16_000  # Hz, of every encoder's input
FRAME_SAMPLES = 1_280  # samples at INPUT_RATE in one code frame
FRAME_SECONDS = FRAME_SAMPLES / INPUT_RATE  # 0.08 s

FILE_RATES = range(1_000, 768_001)  # Hz; other rates are refused, as they could fill the memory
FULL_SCALE = 32_768  # the int16 step that stands for 1.0
_SYSTEM_ERROR = 2  # libsndfile's code
_WRITE_BLOCK = 65_536  # samples; libsndfile's Vorbis encoder overflows its stack on long writes

Samples: TypeAlias = npt.NDArray[np.float32]
Pcm16: TypeAlias = npt.NDArray[np.int16]


def to_float32(pcm: npt.NDArray[Any]) -> Samples:
    """16-bit samples as float32 in [-1, 1)."""
    samples: Samples = pcm.astype(np.float32) / np.float32(FULL_SCALE)
    return samples


def to_int16(samples: npt.NDArray[Any]) -> Pcm16:
    """Finite float samples as 16-bit, rounded to the nearest step and clipped at full scale.

    `to_int16(to_float32(pcm))` is `pcm` again.
    """
    scaled = np.rint(samples * np.float32(FULL_SCALE))
    pcm: Pcm16 = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return pcm


def scaled_length(samples: int, rate_in: int, rate_out: int) -> int:
    """The number of samples at `rate_out` that last as long as `samples` at `rate_in`.

    Halves round up.
    """
    return (2 * samples * rate_out + rate_in) // (2 * rate_in)


def fit_length(samples: Samples, length: int) -> Samples:
    """`samples` cut, or filled up with silence, to exactly `length`."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


@dataclass(frozen=True)
class SoundInfo:
    """Rate, channels and length of a sound file before mixing down and resampling."""

    rate: int  # Hz
    channels: int
    samples: int  # in each channel

    @property
    def mixed_down(self) -> bool:
        return self.channels > 1

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def read_audio(path: str | Path, rate: int = INPUT_RATE) -> tuple[Samples, SoundInfo]:
    """Read a wav, flac, ogg or mp3 file, mixed down to mono and resampled.

    Returns:
        samples: float32 [scaled_length(info.samples, info.rate, rate)] at `rate` Hz.
        info: rate, channels and length of the file as it was.

    Raises:
        AudioError: there is no such file, it is not a sound file, it holds no sound or NaN.
    """
    try:
        with open(path, "rb") as file, soundfile.SoundFile(file) as sound:
            channels = sound.read(dtype="float32", always_2d=True)
            info = SoundInfo(sound.samplerate, sound.channels, len(channels))
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror}") from None
    except soundfile.LibsndfileError:
        if Path(path).stat().st_size == 0:
            raise AudioError(f"{path} is an empty file") from None
        raise AudioError(
            f"{path} is not a sound file, or damaged: give a wav, flac, ogg or mp3"
        ) from None
    if info.rate not in FILE_RATES:
        raise AudioError(f"{path} has {info.rate} samples a second: no recording of speech has")
    if info.samples == 0:
        raise AudioError(f"{path} holds no sound: its length is zero")
    if not np.isfinite(channels).all():
        raise AudioError(f"{path} holds samples that are not numbers (NaN or infinite)")
    mono = channels.mean(axis=1, dtype=np.float32)
    return resample(mono, info.rate, rate), info


def write_audio(path: str | Path, samples: Samples, rate: int) -> None:
    """Write mono samples at `rate` Hz; the name's ending chooses wav, flac, ogg or mp3.

    Args:
        samples: float32 [n].

    Raises:
        AudioError: the ending is unknown, the format lacks this rate, or the place is not writable.
    """
    pcm = to_int16(samples)
    with writing(path), create_audio(path, rate) as sound:
        for start in range(0, len(pcm), _WRITE_BLOCK):
            sound.write(pcm[start : start + _WRITE_BLOCK])


def create_audio(path: str | Path, rate: int) -> soundfile.SoundFile:
    """Open a mono sound file for writing, in the format of its name's ending.

    Raises:
        AudioError: as `write_audio`.
    """
    check_target(path)
    with writing(f"{path} at {rate} Hz"):
        open(path, "ab").close()  # libsndfile does not report the system's reason
        return soundfile.SoundFile(path, "w", samplerate=rate, channels=1)


@contextmanager
def writing(target: str | Path) -> Iterator[None]:
    """Turn refusals of libsndfile and the system into one sentence.

    Args:
        target: the file, as the sentence names it.

    Raises:
        AudioError: "cannot write" the target, and the reason.
    """
    try:
        yield
    except OSError as error:
        raise AudioError(f"cannot write {target}: {error.strerror}") from None
    except soundfile.LibsndfileError as error:
        reason = error.error_string.removeprefix("Error : ").rstrip(".")
        if error.code == _SYSTEM_ERROR:
            reason = "the disk may be full"
        raise AudioError(f"cannot write {target}: {reason}") from None


def check_target(path: str | Path) -> None:
    """Check that sound can be written to a path, before any work is done for it.

    Raises:
        AudioError: the ending is unknown, the folder missing, or it is a folder itself.
    """
    path = Path(path)
    if not soundfile.check_format(path.suffix[1:]):
        reason = "its name must end in .wav, .flac, .ogg or .mp3"
    elif not path.parent.is_dir():
        reason = "there is no such folder"
    elif path.is_dir():
        reason = "it is a folder"
    else:
        return
    raise AudioError(f"cannot write {path}: {reason}")


def resample(samples: Samples, rate_in: int, rate_out: int) -> Samples:
    """A whole clip at another rate: [n] -> [scaled_length(n, rate_in, rate_out)]."""
    if rate_in == rate_out:
        return samples
    resampled = soxr.resample(samples, rate_in, rate_out)
    return fit_length(resampled, scaled_length(len(samples), rate_in, rate_out))


class StreamResampler:
    """Resamples a stream in chunks of any size; the result does not depend on their sizes.

    The results of `push` and `flush`, joined, are `scaled_length(n, rate_in, rate_out)` samples for
    n pushed, and lie within 0.25 ms of `resample` of the whole. At equal rates they are the input.

    It is soxr's variable-rate engine, at a fixed rate: its lag is 8 to 15 ms (30 ms up from
    8 kHz), where the block filters of its usual engine hold back 37 to 115 ms.

    Args:
        rate_in: Hz of the input.
        rate_out: Hz of the output.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._taken = 0
        self._given = 0
        self._stream = (
            soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality="HQ", vr=True)
            if rate_in != rate_out
            else None
        )

    def push(self, samples: Samples) -> Samples:
        """Take float32 [n] at `rate_in`; returns float32 [ready] at `rate_out`, maybe none yet."""
        self._taken += len(samples)
        if self._stream is None:
            return samples
        return self._give(self._stream.resample_chunk(samples))

    def flush(self) -> Samples:
        """End the stream; returns the rest of its samples. Push nothing afterwards."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        # The engine ends up to three samples early, so silence pushes the last ones out.
        silence = np.zeros(self.rate_in // 100 + 1, np.float32)
        return self._give(self._stream.resample_chunk(silence, last=True))

    def _give(self, ready: Samples) -> Samples:
        left = scaled_length(self._taken, self.rate_in, self.rate_out) - self._given
        ready = ready[:left]
        self._given += len(ready)
        return ready
