"""Packs codes into bits, in the same way for the wire and for files.

One frame is one group of bytes. Read as a little-endian integer, the group holds code i in its
bits ``bits * i`` to ``bits * (i + 1) - 1``, and zeros above the last code. Eight codes of 10 bits
fill 10 bytes, so 12.5 frames a second are 1000 bits a second.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from xyt_stream.errors import CodeError

CodeArray: TypeAlias = npt.NDArray[np.int64]  # [codebooks, frames]

_FEW = 4  # frames, for which whole numbers of Python are faster than arrays: 2 us for 17
_FEW_CODES = 64


def code_bits(codebook_size: int) -> int:
    """Bits of one code of a codebook with `codebook_size` entries."""
    return max(1, (codebook_size - 1).bit_length())


def frame_bytes(num_codebooks: int, bits: int = 10) -> int:
    """Bytes of one packed frame."""
    return (num_codebooks * bits + 7) // 8


def pack_codes(codes: npt.NDArray[np.integer[Any]], bits: int = 10) -> bytes:
    """Packs codes [codebooks, frames] into frames * frame_bytes(codebooks, bits) bytes.

    Raises:
        CodeError: the array is not two-dimensional and integer, or a code does not fit in `bits`.
    """
    if codes.ndim != 2 or codes.dtype.kind not in "iu":
        raise CodeError(
            f"Codes must be integers [codebooks, frames], not {codes.dtype} {list(codes.shape)}."
        )
    num_codebooks, frames = codes.shape
    if frames <= _FEW:
        return _pack_few(codes.astype(np.int64, copy=False).tobytes(), num_codebooks, bits)
    _check_range(codes, bits)
    ones = (codes.T[:, :, None] >> np.arange(bits)) & 1  # [frames, codebooks, bits]
    groups = ones.reshape(frames, num_codebooks * bits).astype(np.uint8)
    return np.packbits(groups, axis=1, bitorder="little").tobytes()


def in_range(codes: npt.NDArray[np.integer[Any]], size: int) -> bool:
    """Whether all codes are from 0 to size - 1."""
    if not codes.size:
        return True
    if codes.size <= _FEW_CODES:
        values: list[int] = codes.ravel().tolist()
        return min(values) >= 0 and max(values) < size
    return bool(codes.min() >= 0 and codes.max() < size)


def _check_range(codes: npt.NDArray[np.integer[Any]], bits: int) -> None:
    if not in_range(codes, 1 << bits):
        raise CodeError(f"A code is out of range: {bits} bits hold 0 to {(1 << bits) - 1}.")


@lru_cache(maxsize=256)  # a relay packs the same frame for each listener
def _pack_few(data: bytes, num_codebooks: int, bits: int) -> bytes:
    """Packs the bytes of int64 [codebooks, frames]."""
    codes = np.frombuffer(data, np.int64).reshape(num_codebooks, -1)
    _check_range(codes, bits)
    size = frame_bytes(num_codebooks, bits)
    return b"".join(_pack_frame(frame, bits, size) for frame in codes.T.tolist())


def _pack_frame(codes: list[int], bits: int, size: int) -> bytes:
    group = 0
    for code in reversed(codes):
        group = group << bits | code
    return group.to_bytes(size, "little")


def unpack_codes(data: bytes, num_codebooks: int, bits: int = 10) -> CodeArray:
    """Unpacks the bytes of `pack_codes` into int64 [codebooks, frames].

    Raises:
        CodeError: `data` is not a whole number of frames.
    """
    size = frame_bytes(num_codebooks, bits)
    if len(data) % size:
        raise CodeError(f"{len(data)} bytes are no whole number of {size}-byte code frames.")
    if len(data) == size:
        group, mask = int.from_bytes(data, "little"), (1 << bits) - 1
        values = [group >> shift & mask for shift in range(0, num_codebooks * bits, bits)]
        return np.array(values, np.int64)[:, None]
    groups = np.frombuffer(data, dtype=np.uint8).reshape(-1, size)
    ones = np.unpackbits(groups, axis=1, count=num_codebooks * bits, bitorder="little")
    ones = ones.reshape(-1, num_codebooks, bits)
    codes = ones @ (1 << np.arange(bits, dtype=np.int32))  # [frames, codebooks]
    return np.ascontiguousarray(codes.T, dtype=np.int64)
