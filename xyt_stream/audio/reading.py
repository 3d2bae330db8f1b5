"""Reads sound files and pipes block by block, as mono float32."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt
import soundfile

from xyt_stream.audio import endings, wav
from xyt_stream.audio.downmix import Downmix
from xyt_stream.audio.resampling import FileResampler
from xyt_stream.audio.samples import FILE_RATES, INPUT_RATE, Samples
from xyt_stream.errors import AudioError
from xyt_stream.standard_streams import is_standard, source_name

_BLOCK = 1 << 16  # samples of all channels
_SPOOL_BLOCK = 1 << 20  # bytes that are read of a pipe at once
_MP3_FRAME = 1152  # samples, the most
_LONGER = 400  # beyond the ratio of any two bit rates of MP3: 320 to 8 kbit/s
_MOST_SPOOLED = 1 << 32  # bytes of a pipe in another format than WAV


@dataclass(frozen=True)
class SoundInfo:
    """The properties of a sound file before it is mixed down and resampled."""

    rate: int  # Hz
    channels: int
    samples: int  # in each channel
    opposite_phase: bool = False  # its two channels cancelled each other: one was inverted
    missing: int = 0  # samples that a WAV or MP3 header promises beyond the file's end
    unfinished: bool = False  # an Ogg file ends before its last page, or an MP3 file in a frame

    @property
    def mixed_down(self) -> bool:
        """Whether there is more than one channel."""
        return self.channels > 1

    @property
    def seconds(self) -> float:
        """The length."""
        return self.samples / self.rate


def read_audio(path: str | Path, rate: int = INPUT_RATE) -> tuple[Samples, SoundInfo]:
    """The sound of a wav, flac, ogg or mp3 file, mixed down to mono and resampled.

    Returns:
        samples: float32 [scaled_length(info.samples, info.rate, rate)] at `rate` Hz.
        info: rate, channels and length of the file itself.

    Raises:
        AudioError: the file is missing, is no sound file, holds no sound or holds NaN.
    """
    with SoundReader(path) as reader:
        blocks = list(reader.resampled(rate))
        return np.concatenate(blocks), reader.info


class SoundReader:
    """A sound file, a pipe, or standard input ("-"), read once from beginning to end.

    WAV files of PCM or float samples are read as they arrive, so that a pipe may be live. A pipe of
    another format is first read to its end.

    Attributes:
        rate: Hz.
        channels: number of channels.
        expected: samples in each channel, as the header says; None: unknown.

    Raises:
        AudioError: there is no such file, or it is not a sound file.
    """

    def __init__(self, path: str | Path) -> None:
        self._name = source_name(path)
        self._samples = 0
        self._promised = 0  # samples; 0: unknown
        self._inexact = 0  # samples by which the header's length may be wrong
        self._unfinished = False
        with ExitStack() as stack:
            try:
                file = stack.enter_context(_open(path))
                self._open(file, stack)
            except OSError as error:
                raise AudioError(f"cannot read {self._name}: {error.strerror}") from None
            except soundfile.LibsndfileError:
                raise self._damaged() from None
            self._resources = stack.pop_all()
        if self.rate not in FILE_RATES:
            self.close()
            raise AudioError(
                f"{self._name} has {self.rate} samples a second: no recording of speech has"
            )

    @property
    def seconds(self) -> float | None:
        """The length, as the header says; None: unknown."""
        return None if self.expected is None else self.expected / self.rate

    @property
    def info(self) -> SoundInfo:
        """The properties so far; complete when all blocks have been read."""
        missing = max(0, self._promised - self._samples)
        if missing <= self._inexact:
            missing = 0
        opposite = self._downmix.opposite_phase
        return SoundInfo(
            self.rate, self.channels, self._samples, opposite, missing, self._unfinished
        )

    def resampled(self, rate: int) -> Iterator[Samples]:
        """Yields float32 [n] at `rate` Hz.

        Raises:
            AudioError: as `blocks`.
        """
        resampler = FileResampler(self.rate, rate)
        for block in self.blocks():
            yield resampler.push(block)
        yield resampler.flush()

    def blocks(self) -> Iterator[Samples]:
        """Yields float32 [n] at the file's own rate, mixed down to mono.

        Raises:
            AudioError: the file is damaged, holds no sound, or a sample is NaN or infinite.
        """
        try:
            for block in self._blocks:
                if not np.isfinite(block).all():
                    raise AudioError(
                        f"{self._name} holds samples that are not numbers (NaN or infinite)"
                    )
                self._samples += len(block)
                yield self._downmix.push(block)
        except OSError as error:
            raise AudioError(f"cannot read {self._name}: {error.strerror}") from None
        except soundfile.LibsndfileError:
            raise self._damaged() from None
        if self._samples == 0:
            raise AudioError(f"{self._name} holds no sound: its length is zero")

    def close(self) -> None:
        """Closes the file."""
        self._resources.close()

    def __enter__(self) -> SoundReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, file: IO[bytes], stack: ExitStack) -> None:
        form, seen = wav.read_header(file)
        if not seen:
            raise AudioError(f"{self._name} is an empty file")
        if form is not None:
            self._open_wav(file, form)
            return
        if not file.seekable():
            spooled = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            spooled.write(seen)
            self._spool(file, spooled)
            file = spooled
        file.seek(0)
        sound = stack.enter_context(_Sequential(_Seekable(file)))
        is_mp3, is_ogg = sound.format in ("MP3", "MPEG"), sound.format == "OGG"
        place = file.tell()
        estimated = is_mp3 and not endings.mp3_has_length(file)
        self._unfinished = is_ogg and endings.ogg_is_unfinished(file)
        file.seek(place)
        if estimated:  # by the first frame's bit rate: libsndfile would stop there
            sound.close()
            file.seek(0)
            sound = stack.enter_context(_Sequential(_Seekable(file, longer=_LONGER)))
        self.rate, self.channels = sound.samplerate, sound.channels
        self.expected = sound.frames if 0 < sound.frames < 1 << 48 and not estimated else None
        if is_mp3 and self.expected is not None:
            self._promised, self._inexact = self.expected, 2 * _MP3_FRAME
        self._downmix = Downmix(self.channels, self.rate, ogg=is_ogg)
        self._blocks = self._mp3_blocks(sound) if estimated else _libsndfile_blocks(sound, _BLOCK)

    def _mp3_blocks(self, sound: soundfile.SoundFile) -> Iterator[npt.NDArray[np.float32]]:
        """Yields the samples of an MP3 file without a length; cut within a frame, it ends there."""
        read = False
        try:
            for block in _libsndfile_blocks(sound, _MP3_FRAME):
                read = True
                yield block
        except soundfile.LibsndfileError:
            if not read:
                raise
            self._unfinished = True

    def _spool(self, file: IO[bytes], spooled: IO[bytes]) -> None:
        """Copies the rest of a pipe, which may never end, to a file."""
        while block := file.read(_SPOOL_BLOCK):
            spooled.write(block)
            if spooled.tell() > _MOST_SPOOLED:
                raise AudioError(f"{self._name} is no wav, and longer than {_MOST_SPOOLED} bytes")

    def _open_wav(self, file: IO[bytes], form: wav.WavFormat) -> None:
        if form.data_bytes == 0 and file.seekable():
            start = file.tell()
            if not wav.holds_chunks(file.read(wav.MAX_HEADER)):
                form = wav.endless(form)  # the writer has not filled in the length
            file.seek(start)
        elif form.data_bytes == 0:
            form = wav.endless(form)
        self.rate, self.channels = form.rate, form.channels
        self.expected = None if form.data_bytes is None else form.data_bytes // form.frame_bytes
        if self.expected is not None and (form.data_bytes or 0) < wav.PLACEHOLDER:
            self._promised = self.expected
        self._downmix = Downmix(form.channels, form.rate, mask=form.mask)
        self._blocks = wav.read_blocks(file, form, max(1, _BLOCK // form.channels))

    def _damaged(self) -> AudioError:
        return AudioError(
            f"{self._name} is not a sound file, or damaged: give a wav, flac, ogg or mp3"
        )


class _Seekable:
    """A file in which every place can be sought: a header that lies leads to the end.

    Args:
        file: the file.
        longer: factor of the length that it pretends to have.
    """

    def __init__(self, file: IO[bytes], *, longer: int = 1) -> None:
        self._file = file
        self._longer = longer
        self._at_end = False

    def read(self, size: int) -> bytes:
        """Reads up to so many bytes."""
        self._at_end = False
        return self._file.read(size)

    def tell(self) -> int:
        """The place; at the end, after seeking it, `longer` times as far."""
        return self._file.tell() * (self._longer if self._at_end else 1)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves there; see io.IOBase. libsndfile prints an error's traceback."""
        self._at_end = whence == io.SEEK_END
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):  # before the file's beginning, or beyond 2^63
            return self._file.seek(0, io.SEEK_END)


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
    """Reads in order only: seeking fails in GSM files and where a header lacks the length."""

    def seekable(self) -> bool:
        return False


def _open(path: str | Path) -> IO[bytes]:
    if is_standard(path):
        return open(sys.stdin.fileno(), "rb", closefd=False)
    return open(path, "rb")


def _libsndfile_blocks(sound: soundfile.SoundFile, size: int) -> Iterator[npt.NDArray[np.float32]]:
    block = np.empty((max(1, size // sound.channels), sound.channels), np.float32)
    while len(part := sound.read(out=block)):
        yield part.copy()
