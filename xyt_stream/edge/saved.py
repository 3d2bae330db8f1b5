"""Saves a stream's state as bytes, to pause it, fork it or move it to another machine.

    magic     8 bytes, "xyt-edge"
    version   1 byte
    half      1 byte: E of an encoder, D of a decoder
    identity  32 bytes: SHA-256 of the model's hash and of what its state looks like
    waiting   u32, and so many float32: sound that does not fill a frame yet
    state     every tensor in the manifest's order, little-endian
    rest      of a decoder: what is left to play if no frame follows, float32
    digest    32 bytes: SHA-256 of all before it

The length follows from the model and `waiting`, so no bytes make a reader reserve more than a
stream takes.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xyt_stream.edge.manifest import Manifest, StepSpec
from xyt_stream.errors import StateError

MAGIC = b"xyt-edge"
VERSION = 1
LOUDEST = 1e6  # far beyond what any layer remembers
LONGEST = 1 << 40  # frames; 2,800 years
_HEAD = struct.Struct("<8sB1s32sI")
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class Saved:
    """All that a stream remembers between two pushes.

    Args:
        waiting: samples that do not fill a frame, float32 [samples].
        state: arrays [1, ...] by name.
        rest: what is left to play, float32 [samples].
    """

    waiting: NDArray[np.float32]
    state: dict[str, NDArray[Any]]
    rest: NDArray[np.float32]


class Format:
    """Writes and reads the states of one half of a model.

    Args:
        half: b"E" or b"D".
        frame: samples in a frame of input; 0 for codes, which never wait.
        rest: samples that a stream may have left to play.
    """

    def __init__(
        self, manifest: Manifest, spec: StepSpec, half: bytes, *, frame: int, rest: int
    ) -> None:
        self._spec, self._half, self._frame, self._rest = spec, half, frame, rest
        looks = repr([astuple(each) for each in spec.state])
        self._identity = hashlib.sha256(f"{manifest.hash}\n{looks}".encode()).digest()

    def write(self, saved: Saved) -> bytes:
        """As bytes."""
        head = _HEAD.pack(MAGIC, VERSION, self._half, self._identity, len(saved.waiting))
        arrays = [saved.waiting, *(saved.state[each.name] for each in self._spec.state), saved.rest]
        body = head + b"".join(
            array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in arrays
        )
        return body + hashlib.sha256(body).digest()

    def read(self, data: bytes) -> Saved:
        """Back from bytes.

        Raises:
            StateError: they are no state of this model and half, or damaged, or hold numbers that
                no stream comes to.
        """
        data = bytes(data)
        if len(data) < _HEAD.size + _DIGEST_BYTES or not data.startswith(MAGIC):
            raise StateError("this is no saved state of a stream")
        _, version, half, identity, waiting = _HEAD.unpack_from(data)
        if version != VERSION:
            raise StateError(f"the state has version {version}; this version reads {VERSION}")
        if half != self._half:
            kinds = {b"E": "an encoder", b"D": "a decoder"}
            raise StateError(f"the state is one of {kinds.get(half, 'something else')}")
        if identity != self._identity:
            raise StateError("the state is one of another model")
        spec = self._spec.state
        sizes = [waiting, *(int(np.prod(each.shape, dtype=np.int64)) for each in spec), self._rest]
        dtypes = ["<f4", *({"float32": "<f4", "int64": "<i8"}[each.dtype] for each in spec), "<f4"]
        widths = [
            size * np.dtype(dtype).itemsize for size, dtype in zip(sizes, dtypes, strict=True)
        ]
        whole = len(data) == _HEAD.size + sum(widths) + _DIGEST_BYTES
        digest = hashlib.sha256(data[:-_DIGEST_BYTES]).digest()
        if waiting >= max(1, self._frame) or not whole or digest != data[-_DIGEST_BYTES:]:
            raise StateError("the state is damaged or cut short")
        arrays, place = [], _HEAD.size
        for size, dtype, width in zip(sizes, dtypes, widths, strict=True):
            array = np.frombuffer(data, dtype, size, place)
            arrays.append(array.astype(array.dtype.newbyteorder("=")))
            place += width
        if not all(_sane(array) for array in arrays):
            raise StateError("the state holds numbers that no stream comes to")
        shaped = {
            each.name: array.reshape(1, *each.shape)
            for each, array in zip(spec, arrays[1:-1], strict=True)
        }
        return Saved(arrays[0], shaped, arrays[-1])


def _sane(array: NDArray[Any]) -> bool:
    """Whether its numbers are finite and not absurd; NaN is not less than anything."""
    if array.dtype == np.int64:
        return bool(((array >= 0) & (array < LONGEST)).all())
    return bool((np.abs(array) <= LOUDEST).all())
