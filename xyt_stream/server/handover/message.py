"""Packs the sessions that move at once into one message: versioned, bounded, and checksummed.

    "XYTU" | version, 2 bytes | length, 8 bytes | SHA-256 of the rest | msgpack of a SavedUnit

Integers are little-endian. It is data only: nothing in it names code.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

import msgspec

from xyt_stream.errors import HandoverError
from xyt_stream.server.saved import SavedUnit

VERSION = 1
MAX_BYTES = 64 << 20
_MAGIC = b"XYTU"
_HEAD = struct.Struct("<4sHQ32s")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SavedUnit)


def pack(unit: SavedUnit) -> bytes:
    """Packs the sessions into a message.

    Raises:
        HandoverError: it would be too large.
    """
    body = _encoder.encode(unit)
    if _HEAD.size + len(body) > MAX_BYTES:
        raise HandoverError(f"its state takes {len(body)} bytes, more than may move")
    return _HEAD.pack(_MAGIC, VERSION, len(body), hashlib.sha256(body).digest()) + body


def unpack(data: bytes) -> SavedUnit:
    """Checks a message and unpacks its sessions.

    Raises:
        HandoverError: it is none, of another version, damaged, or too large.
    """
    if len(data) > MAX_BYTES:
        raise HandoverError("the message is too large")
    if len(data) < _HEAD.size or data[:4] != _MAGIC:
        raise HandoverError("the message is none that carries sessions")
    _, version, length, checksum = _HEAD.unpack_from(data)
    if version != VERSION:
        raise HandoverError(f"the message is of version {version}, not {VERSION}")
    body = memoryview(data)[_HEAD.size :]
    if len(body) != length:
        raise HandoverError(f"the message has {len(body)} bytes of {length}")
    if not hmac.compare_digest(hashlib.sha256(body).digest(), checksum):
        raise HandoverError("the message is damaged")
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise HandoverError(f"the message cannot be read: {error}") from None
