"""Reads and writes code files (.xyt): a recording's codes, and the facts needed to decode them.

All numbers are little-endian and unsigned. A file is, in this order:

    4 bytes    the letters "XYT" and a zero byte
    1          version of this format: 1
    1          codebooks
    2          codebook size
    4          model's input rate, Hz
    2          samples at that rate in one frame
    4          original rate, Hz
    8          original length, samples at the original rate
    4          frames
    1 + n      the model's name: length in bytes, then UTF-8
    1 + n      the model's hash: length in bytes, then UTF-8 (hex digits)
    rest       the frames, packed as in packing.py: 10 bytes each for 8 codes of 10 bits
    4          CRC-32 of everything before it

Codes are meaningless to another model, so a reader compares the hash with its own model's.
"""

from __future__ import annotations

import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import FILE_RATES
from xyt_stream.errors import CodeFileError
from xyt_stream.part_file import part_file
from xyt_stream.protocol.packing import code_bits, frame_bytes, pack_codes, unpack_codes
from xyt_stream.standard_streams import is_standard, source_name, target_name

MAGIC = b"XYT\0"
VERSION = 1
_HEAD = struct.Struct("<4sBBHIHIQI")
_MOST_BYTES = 1 << 28  # of a file; three weeks of speech
_BLOCK = 1 << 20  # bytes that are read at once
_CRC = struct.Struct("<I")


@dataclass(frozen=True, eq=False)
class CodeFile:
    """The contents of a .xyt file."""

    codes: npt.NDArray[np.int64]  # [codebooks, frames]
    codebook_size: int
    model_name: str
    model_hash: str
    input_rate: int  # Hz, of the model
    frame_samples: int  # at input_rate
    original_rate: int  # Hz, of the recording
    original_samples: int  # at original_rate

    @property
    def seconds(self) -> float:
        """Duration of the recording."""
        return self.original_samples / self.original_rate

    def require_model(self, name: str, model_hash: str) -> None:
        """Raises CodeFileError unless the codes were made with the model of this name and hash."""
        if self.model_hash != model_hash:
            raise CodeFileError(
                f"the codes were made with model {self.model_name} ({self.model_hash[:12]}), "
                f"not {name} ({model_hash[:12]}): name theirs with --model"
            )

    def to_bytes(self) -> bytes:
        """Encodes the file.

        Raises:
            CodeError: the codes do not fit the codebook size.
        """
        num_codebooks, frames = self.codes.shape
        head = _HEAD.pack(
            MAGIC,
            VERSION,
            num_codebooks,
            self.codebook_size,
            self.input_rate,
            self.frame_samples,
            self.original_rate,
            self.original_samples,
            frames,
        )
        packed = pack_codes(self.codes, code_bits(self.codebook_size))
        body = head + _text(self.model_name) + _text(self.model_hash) + packed
        return body + _CRC.pack(zlib.crc32(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> CodeFile:
        """Decodes a file; no length in it is trusted beyond the bytes that are there.

        Raises:
            CodeFileError: this is not a code file, is of a newer version, cut short or damaged.
        """
        if data[: len(MAGIC)] != MAGIC:
            raise CodeFileError("this is not a .xyt code file")
        head = _HEAD.unpack(_take(data, 0, _HEAD.size))
        _, version, num_codebooks, codebook_size, *rates_and_lengths, frames = head
        input_rate, frame_samples, original_rate, original_samples = rates_and_lengths
        if version != VERSION:
            raise CodeFileError(
                f"the code file has version {version} of its format; "
                f"this program reads version {VERSION}"
            )
        name, offset = _read_text(data, _HEAD.size)
        model_hash, offset = _read_text(data, offset)
        bits = code_bits(codebook_size)
        packed = _take(data, offset, frames * frame_bytes(num_codebooks, bits))
        offset += len(packed)
        (crc,) = _CRC.unpack(_take(data, offset, _CRC.size))
        if len(data) != offset + _CRC.size or crc != zlib.crc32(data[:offset]):
            raise CodeFileError("the code file is damaged: its checksum does not fit")
        if not (num_codebooks and codebook_size and frame_samples and input_rate in FILE_RATES):
            raise CodeFileError("the code file is damaged: a size in it makes no sense")
        # One sample of slack: the resampled recording may have been rounded down to whole frames.
        most = frames * frame_samples + 1  # samples at input_rate
        if original_rate not in FILE_RATES or original_samples * input_rate > most * original_rate:
            raise CodeFileError("the code file is damaged: its length and its frames do not agree")
        return cls(
            codes=unpack_codes(packed, num_codebooks, bits),
            codebook_size=codebook_size,
            model_name=name.decode(errors="replace"),
            model_hash=model_hash.decode(errors="replace"),
            input_rate=input_rate,
            frame_samples=frame_samples,
            original_rate=original_rate,
            original_samples=original_samples,
        )

    def write(self, path: str | Path) -> int:
        """Writes the file, or to standard output ("-"); a file is replaced only by a whole one.

        Returns:
            Its length in bytes.

        Raises:
            CodeFileError: the place is not writable.
        """
        data = self.to_bytes()
        try:
            if is_standard(path):
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                with part_file(Path(path)) as part:
                    part.write_bytes(data)
            return len(data)
        except OSError as error:
            raise CodeFileError(f"cannot write {target_name(path)}: {error.strerror}") from None

    @classmethod
    def read(cls, path: str | Path) -> CodeFile:
        """Reads a file, or standard input ("-").

        Raises:
            CodeFileError: there is no such file, or `from_bytes` refuses it.
        """
        try:
            if is_standard(path):
                return cls.from_bytes(_read_all(sys.stdin.buffer))
            with Path(path).open("rb") as file:
                return cls.from_bytes(_read_all(file))
        except OSError as error:
            raise CodeFileError(f"cannot read {source_name(path)}: {error.strerror}") from None
        except CodeFileError as error:
            raise CodeFileError(f"{source_name(path)}: {error}") from None


def _read_all(file: IO[bytes]) -> bytes:
    """Reads a code file; of any other, only so much that it is refused. Some never end.

    Raises:
        CodeFileError: it is longer than any recording.
    """
    data = bytearray(file.read(len(MAGIC)))
    while data[: len(MAGIC)] == MAGIC and (more := file.read(_BLOCK)):
        data += more
        if len(data) > _MOST_BYTES:
            raise CodeFileError(f"a code file has at most {_MOST_BYTES} bytes: this one is longer")
    return bytes(data)


def _text(text: str) -> bytes:
    encoded = text.encode()[:255]
    return bytes([len(encoded)]) + encoded


def _read_text(data: bytes, offset: int) -> tuple[bytes, int]:
    (size,) = _take(data, offset, 1)
    return _take(data, offset + 1, size), offset + 1 + size


def _take(data: bytes, offset: int, size: int) -> bytes:
    if len(data) < offset + size:
        raise CodeFileError(
            f"the code file is cut short: it has {len(data)} bytes and needs {offset + size}"
        )
    return data[offset : offset + size]
