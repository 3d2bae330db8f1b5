"""Telephone sound: 8-bit u-law and A-law, as ITU-T G.711 has them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import Pcm16

RATE = 8_000  # Hz

Levels: TypeAlias = npt.NDArray[np.int16]
Bytes: TypeAlias = npt.NDArray[np.uint8]


def _ulaw_levels() -> Levels:
    """What each of the 256 bytes stands for, at 16 bits."""
    byte = ~np.arange(256) & 0xFF
    size = ((((byte & 0x0F) << 3) + 0x84) << ((byte >> 4) & 7)) - 0x84
    return np.where(byte & 0x80, -size, size).astype(np.int16)


def _alaw_levels() -> Levels:
    byte = np.arange(256) ^ 0x55
    exponent, mantissa = (byte >> 4) & 7, (byte & 0x0F) << 4
    size = np.where(exponent, (mantissa + 0x108) << np.maximum(exponent - 1, 0), mantissa + 8)
    return np.where(byte & 0x80, size, -size).astype(np.int16)


def _ulaw_bytes() -> Bytes:
    """The byte of each 16-bit sample, by its 14 upper bits: that is all that the law hears."""
    sample = np.arange(-32_768, 32_768, 4) >> 2  # 14 bits
    biased = np.minimum(np.where(sample < 0, -sample, sample), 8158) + 33
    exponent = np.floor(np.log2(biased)).astype(np.int64) - 5
    coded = (exponent << 4) | ((biased >> (exponent + 1)) & 0x0F)
    made: Bytes = (coded ^ np.where(sample < 0, 0x7F, 0xFF)).astype(np.uint8)
    return made


def _alaw_bytes() -> Bytes:
    """The byte of each 16-bit sample, by its 13 upper bits."""
    sample = np.arange(-32_768, 32_768, 8) >> 3  # 13 bits
    size = np.where(sample < 0, -sample - 1, sample)
    exponent = np.maximum(np.floor(np.log2(np.maximum(size, 1))).astype(np.int64) - 4, 0)
    coded = (exponent << 4) | ((size >> np.maximum(exponent, 1)) & 0x0F)
    made: Bytes = (coded ^ np.where(sample < 0, 0x55, 0xD5)).astype(np.uint8)
    return made


_FROM_ULAW, _FROM_ALAW = _ulaw_levels(), _alaw_levels()
_TO_ULAW, _TO_ALAW = _ulaw_bytes(), _alaw_bytes()


def from_ulaw(data: bytes) -> Pcm16:
    """u-law bytes as int16 [len(data)]."""
    return _FROM_ULAW[np.frombuffer(data, np.uint8)]


def to_ulaw(pcm: Pcm16) -> bytes:
    """int16 [n] as n u-law bytes."""
    return bytes(_TO_ULAW[(pcm.astype(np.int64) + 32_768) >> 2])


def from_alaw(data: bytes) -> Pcm16:
    """A-law bytes as int16 [len(data)]."""
    return _FROM_ALAW[np.frombuffer(data, np.uint8)]


def to_alaw(pcm: Pcm16) -> bytes:
    """int16 [n] as n A-law bytes."""
    return bytes(_TO_ALAW[(pcm.astype(np.int64) + 32_768) >> 3])
