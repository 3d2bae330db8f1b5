"""Reads WAV files of PCM or float samples in order, from files and pipes, and writes WAV to pipes.

libsndfile reads a pipe only in some formats, stops where a header says that no sound follows, and
does not report the channel mask. Everything else is left to it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from xyt_stream.audio.samples import Pcm16

UNKNOWN = 0xFFFF_FFFF  # bytes: the size that a streaming writer puts into its header
PLACEHOLDER = 0x7FFF_0000  # bytes: sizes from here on stand for an unknown one in some headers
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
MAX_HEADER = 1 << 20  # bytes before the samples
_SAMPLE: dict[tuple[int, int], tuple[np.dtype[Any], float, float]] = {
    (_PCM, 8): (np.dtype("u1"), 128.0, 128.0),
    (_PCM, 16): (np.dtype("<i2"), 0.0, 32768.0),
    (_PCM, 32): (np.dtype("<i4"), 0.0, 2147483648.0),
    (_FLOAT, 32): (np.dtype("<f4"), 0.0, 1.0),
    (_FLOAT, 64): (np.dtype("<f8"), 0.0, 1.0),
}  # dtype, zero level, full scale


@dataclass(frozen=True)
class WavFormat:
    """The format of a WAV file's samples.

    Attributes:
        tag: 1 PCM, 3 float.
        bits: of one sample.
        mask: channel mask; 0: none.
        data_bytes: length of the samples; None: up to the end of the file.
    """

    tag: int
    channels: int
    rate: int
    bits: int
    mask: int
    data_bytes: int | None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8


def read_header(file: IO[bytes]) -> tuple[WavFormat | None, bytes]:
    """Reads up to the first sample.

    Returns:
        The format, or None if it is not one that this module reads; and the bytes that were read.
    """
    seen = file.read(12)
    if len(seen) < 12 or seen[:4] != b"RIFF" or seen[8:] != b"WAVE":
        return None, seen
    fmt = b""
    while len(seen) < MAX_HEADER:
        head = file.read(8)
        seen += head
        if len(head) < 8:
            return None, seen
        (size,) = struct.unpack("<I", head[4:])
        if head[:4] == b"data":
            return _format(fmt, size), seen
        body = file.read(min(size + size % 2, MAX_HEADER))
        seen += body
        if head[:4] == b"fmt ":
            fmt = body
    return None, seen


def endless(form: WavFormat) -> WavFormat:
    """The same format with samples up to the end of the file."""
    return replace(form, data_bytes=None)


def holds_chunks(data: bytes) -> bool:
    """Whether `data` is a list of RIFF chunks and not samples."""
    at = 0
    while at + 8 <= len(data) and data[at : at + 4].isascii() and data[at : at + 4].isalnum():
        (size,) = struct.unpack_from("<I", data, at + 4)
        at += 8 + size + size % 2
    return bool(data) and at in (len(data), len(data) + 1)


def read_blocks(file: IO[bytes], form: WavFormat, block: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yields float32 [up to block, channels] as samples arrive; drops a last partial sample."""
    left = form.data_bytes
    rest = b""
    read = getattr(file, "read1", file.read)  # read1 does not wait for a whole block
    while left is None or left > 0:
        want = block * form.frame_bytes - len(rest)
        data = read(want if left is None else min(want, left))
        if not data:
            return
        left = None if left is None else left - len(data)
        rest += data
        whole = len(rest) // form.frame_bytes * form.frame_bytes
        if whole:
            yield _decode(rest[:whole], form)
            rest = rest[whole:]


def header(rate: int, samples: int | None) -> bytes:
    """The header of a mono 16-bit file; `samples` None: the length is not known yet."""
    size = min(UNKNOWN, 2 * samples + 36) if samples is not None else UNKNOWN
    data = size - 36 if size != UNKNOWN else UNKNOWN
    fmt = struct.pack("<HHIIHH", _PCM, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s4sI16s4sI", b"RIFF", size, b"WAVE", b"fmt ", 16, fmt, b"data", data)


def encode(pcm: Pcm16) -> bytes:
    """int16 [samples] as the bytes of a WAV file."""
    return pcm.astype("<i2").tobytes()


def _format(fmt: bytes, data_bytes: int) -> WavFormat | None:
    if len(fmt) < 16:
        return None
    tag, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", fmt)
    mask = 0
    if tag == _EXTENSIBLE and len(fmt) >= 40:
        mask, tag = struct.unpack_from("<IH", fmt, 20)
    known = (tag, bits) in _SAMPLE or (tag, bits) == (_PCM, 24)
    if not known or not channels or frame_bytes != channels * bits // 8:
        return None
    return WavFormat(tag, channels, rate, bits, mask, None if data_bytes == UNKNOWN else data_bytes)


def _decode(data: bytes, form: WavFormat) -> npt.NDArray[np.float32]:
    if form.bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples, zero, scale = wide.view("<i4")[:, 0], 0.0, 2147483648.0
    else:
        dtype, zero, scale = _SAMPLE[form.tag, form.bits]
        samples = np.frombuffer(data, dtype)
    scaled = samples if scale == 1 else (samples.astype(np.float64) - zero) / scale
    return scaled.astype(np.float32).reshape(-1, form.channels)
