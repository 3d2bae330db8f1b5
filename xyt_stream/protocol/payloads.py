"""Turns frames of codes into the payload of a media message, and back."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np

from xyt_stream.errors import CodeError
from xyt_stream.protocol.messages import Kind
from xyt_stream.protocol.packing import (
    CodeArray,
    code_bits,
    frame_bytes,
    in_range,
    pack_codes,
    unpack_codes,
)
from xyt_stream.protocol.sealing import OVERHEAD, Sealing


class Payload(Protocol):
    """The form of a session's codes on the wire.

    Attributes:
        kind: of the media messages.
    """

    kind: Kind

    def pack(self, codes: CodeArray) -> bytes:
        """Encodes int64 [codebooks, frames].

        Raises:
            CodeError: the codes are not this codec's.
        """

    def unpack(self, payload: bytes) -> CodeArray:
        """Decodes a payload to int64 [codebooks, frames].

        Raises:
            CodeError: it is no whole number of frames, or a code is too big.
        """


class PlainPayload:
    """Packed codes; see packing.py."""

    kind = Kind.CODES

    def __init__(self, codebooks: int, codebook_size: int) -> None:
        self.frame_bytes = frame_bytes(codebooks, code_bits(codebook_size))
        self._codebooks = codebooks
        self._codebook_size = codebook_size
        self._bits = code_bits(codebook_size)

    def pack(self, codes: CodeArray) -> bytes:
        """Encodes int64 [codebooks, frames]; see Payload."""
        self._check(codes)
        return pack_codes(codes, self._bits)

    def unpack(self, payload: bytes) -> CodeArray:
        """Decodes a payload; see Payload."""
        codes = unpack_codes(payload, self._codebooks, self._bits)
        self._check(codes)
        return codes

    def _check(self, codes: CodeArray) -> None:
        if codes.ndim != 2 or len(codes) != self._codebooks:
            raise CodeError(f"Codes must be [{self._codebooks}, frames], not {list(codes.shape)}.")
        if not in_range(codes, self._codebook_size):
            raise CodeError(f"A code is out of range: 0 to {self._codebook_size - 1}.")


class SealedPayload:
    """Codes that are sealed frame by frame: the payload of a client that has the room's key."""

    kind = Kind.SEALED

    def __init__(self, plain: PlainPayload, sealing: Sealing) -> None:
        self._plain = plain
        self._sealing = sealing

    def pack(self, codes: CodeArray) -> bytes:
        """Encodes and seals int64 [codebooks, frames]; see Payload."""
        packed = self._plain.pack(codes)
        return b"".join(map(self._sealing.seal, _split(packed, self._plain.frame_bytes)))

    def unpack(self, payload: bytes) -> CodeArray:
        """Opens and decodes a payload; see Payload.

        Raises:
            ProtocolError: bad_seal.
        """
        frames = _split(payload, self._plain.frame_bytes + OVERHEAD)
        return self._plain.unpack(b"".join(map(self._sealing.open, frames)))


class SharedPayload:
    """A payload that packs an array once, however many clients it goes to, one after another.

    Arrays that are packed must not change.

    Args:
        payload: that does the work.
    """

    def __init__(self, payload: Payload) -> None:
        self.kind = payload.kind
        self._payload = payload
        self._codes: CodeArray | None = None  # the array that was packed last
        self._packed = b""

    def pack(self, codes: CodeArray) -> bytes:
        """Encodes an array; see Payload."""
        if codes is not self._codes:
            self._packed = self._payload.pack(codes)
            self._codes = codes
        return self._packed

    def unpack(self, payload: bytes) -> CodeArray:
        """Decodes a payload; see Payload."""
        return self._payload.unpack(payload)


@lru_cache(maxsize=64)
def shared_payload(codebooks: int, codebook_size: int, *, sealed: bool) -> SharedPayload:
    """The payload of all sessions of a server whose codes have this shape."""
    plain = PlainPayload(codebooks, codebook_size)
    return SharedPayload(OpaquePayload(plain) if sealed else plain)


class OpaquePayload:
    """Sealed frames as a server sees them: each byte of a frame stands for a code."""

    kind = Kind.SEALED

    def __init__(self, plain: PlainPayload) -> None:
        self._size = plain.frame_bytes + OVERHEAD

    def pack(self, codes: CodeArray) -> bytes:
        """Encodes int64 [bytes of a frame, frames]; see Payload."""
        data: bytes = codes.T.astype(np.uint8).tobytes()
        return data

    def unpack(self, payload: bytes) -> CodeArray:
        """Decodes a payload to int64 [bytes of a frame, frames]; see Payload."""
        data = b"".join(_split(payload, self._size))
        codes: CodeArray = np.frombuffer(data, np.uint8).reshape(-1, self._size).T.astype(np.int64)
        return codes


def _split(payload: bytes, size: int) -> list[bytes]:
    if len(payload) % size:
        raise CodeError(f"{len(payload)} bytes are no whole number of {size}-byte frames.")
    return [payload[start : start + size] for start in range(0, len(payload), size)]
