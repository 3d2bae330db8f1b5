"""Writes mono sound files, and WAV to pipes."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import soundfile

from xyt_stream.audio import wav
from xyt_stream.audio.samples import FILE_RATES, Pcm16, Samples, to_int16
from xyt_stream.errors import AudioError
from xyt_stream.part_file import part_file
from xyt_stream.standard_streams import is_standard, target_name

_BLOCK = 65_536  # samples; libsndfile's Vorbis encoder overflows its stack on longer writes
_SYSTEM_ERROR = 2  # libsndfile's code
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
# Name and rates in Hz of each format. At other rates libsndfile crashes (Vorbis) or fails late.
_FORMATS = {
    ".wav": ("WAV", FILE_RATES),
    ".flac": ("FLAC", range(FILE_RATES.start, 655_351)),
    ".ogg": ("Ogg Vorbis", range(FILE_RATES.start, 200_001)),
    ".mp3": ("MPEG audio", _MP3_RATES),
}


def check_target(path: str | Path, rate: int | None = None) -> None:
    """Checks that sound can be written there, before the work of computing it.

    Args:
        rate: Hz; None: not known yet.

    Raises:
        AudioError: the ending is unknown, the format lacks this rate, the folder is missing, or
            `path` is a folder itself.
    """
    path = Path(path)
    suffix = ".wav" if _is_stream(path) else path.suffix.lower()
    where = str(path)
    if suffix not in _FORMATS:
        reason = "its name must end in .wav, .flac, .ogg or .mp3"
    elif not is_standard(path) and not path.parent.is_dir():
        reason = "there is no such folder"
    elif path.is_dir():
        reason = "it is a folder"
    elif rate is not None and rate not in _FORMATS[suffix][1]:
        name, rates = _FORMATS[suffix]
        most = f"at most {rates[-1]}" if isinstance(rates, range) else ", ".join(map(str, rates))
        where, reason = f"{target_name(path)} at {rate} Hz", f"{name} has {most} Hz"
    else:
        return
    raise AudioError(f"cannot write {where}: {reason}")


def write_audio(path: str | Path, samples: Samples, rate: int) -> None:
    """Writes mono float32 [n] at `rate` Hz; the suffix of `path` chooses the format.

    Raises:
        AudioError: as `SoundWriter`.
    """
    with SoundWriter(path, rate, samples=len(samples)) as writer:
        writer.write(to_int16(samples))


class SoundWriter:
    """A mono 16-bit sound file in the making; the suffix chooses wav, flac, ogg or mp3.

    It is written into a part file, which `close` renames. Leaving the `with` block by an exception
    removes it. Standard output ("-") and pipes get WAV.

    Args:
        samples: number of samples to come; None: unknown.
        direct: writes into the file itself, for recordings, of which a part is worth keeping.

    Raises:
        AudioError: as `check_target`, or the place is not writable.
    """

    def __init__(
        self, path: str | Path, rate: int, *, samples: int | None = None, direct: bool = False
    ) -> None:
        check_target(path, rate)
        self._name = target_name(path)
        self._pipe: IO[bytes] | None = None
        self._file: soundfile.SoundFile | None = None
        with writing(self._name), ExitStack() as stack:
            if _is_stream(Path(path)):
                self._pipe = stack.enter_context(_open_stream(path))
                self._pipe.write(wav.header(rate, samples))
            else:
                target = Path(path) if direct else stack.enter_context(part_file(Path(path)))
                open(target, "ab").close()  # libsndfile does not report the system's reason
                kind = Path(path).suffix[1:].upper()
                self._file = stack.enter_context(
                    soundfile.SoundFile(target, "w", rate, channels=1, format=kind)
                )
            self._resources = stack.pop_all()

    def write(self, pcm: Pcm16) -> None:
        """Appends int16 [samples].

        Raises:
            AudioError: the disk may be full.
        """
        with writing(self._name):
            for start in range(0, len(pcm), _BLOCK):
                block = pcm[start : start + _BLOCK]
                if self._file is not None:
                    self._file.write(block)
                elif self._pipe is not None:
                    self._pipe.write(wav.encode(block))
            if self._pipe is not None:
                self._pipe.flush()

    def close(self) -> None:
        """Completes the file.

        Raises:
            AudioError: the disk may be full.
        """
        with writing(self._name):
            self._resources.close()

    def __enter__(self) -> SoundWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with writing(self._name):
            self._resources.__exit__(kind, error, trace)


@contextmanager
def writing(name: str | Path) -> Iterator[None]:
    """Turns errors of libsndfile and of the system into one sentence.

    Raises:
        AudioError: "cannot write" and the reason.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        reason = "the disk may be full" if full else error.strerror
        raise AudioError(f"cannot write {name}: {reason}") from None
    except soundfile.LibsndfileError as error:
        reason = error.error_string.removeprefix("Error : ").rstrip(".")
        if error.code == _SYSTEM_ERROR:
            reason = "the disk may be full"
        raise AudioError(f"cannot write {name}: {reason}") from None


def _is_stream(path: Path) -> bool:
    """Whether it is standard output, a pipe or a device, which get WAV as it comes."""
    return is_standard(path) or (path.exists() and not path.is_file() and not path.is_dir())


def _open_stream(path: str | Path) -> Any:
    if is_standard(path):
        return open(sys.stdout.fileno(), "wb", closefd=False)
    return open(path, "wb")
