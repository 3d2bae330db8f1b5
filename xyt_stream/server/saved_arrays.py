"""Turns arrays into data for a message to another server, and back, checked."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from xyt_stream.errors import HandoverError

_KINDS = {  # bytes of a value
    "float32": 4,
    "float64": 8,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "bool": 1,
}
_MOST_AXES = 8
_MOST_EMPTY = 1 << 16  # product of the other axes of an array without values: rows can be counted


class Array(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An array: its kind, its shape, and its bytes, little-endian and in C order."""

    kind: str
    shape: tuple[int, ...]
    data: bytes

    def check(self) -> None:
        """Raises HandoverError unless the bytes are those of an array of this kind and shape."""
        size = _KINDS.get(self.kind)
        if size is None or len(self.shape) > _MOST_AXES or any(axis < 0 for axis in self.shape):
            raise HandoverError("an array is of no kind that is known")
        for axis in self.shape:
            size *= axis
        if size != len(self.data):
            raise HandoverError("an array has other bytes than its shape says")
        if not size and math.prod(axis or 1 for axis in self.shape) > _MOST_EMPTY:
            raise HandoverError("an array without values has too many rows")


def array(values: npt.NDArray[Any]) -> Array:
    """Makes an Array of a numpy array."""
    return Array(str(values.dtype), values.shape, np.ascontiguousarray(values).tobytes())


def values_of(
    saved: Array, kind: str, shape: tuple[int | None, ...], most: int = 1 << 24
) -> npt.NDArray[Any]:
    """Makes a numpy array of an Array; it may be written to.

    Args:
        kind: that it must have.
        shape: that it must have; None: any length.
        most: values in all.

    Raises:
        HandoverError: it is another.
    """
    saved.check()
    fits = len(saved.shape) == len(shape) and all(
        wanted is None or axis == wanted for axis, wanted in zip(saved.shape, shape, strict=False)
    )
    if saved.kind != kind or not fits or len(saved.data) > most * _KINDS[kind]:
        raise HandoverError(f"an array is {saved.kind} {list(saved.shape)}, which does not fit")
    values: npt.NDArray[Any] = np.frombuffer(saved.data, kind).reshape(saved.shape).copy()
    return values


def codes_of(saved: Array, rows: int | None, columns: int | None) -> npt.NDArray[Any]:
    """Makes a numpy array of saved codes, int64 [rows, columns]; None: any number of them.

    Raises:
        HandoverError: it is another array.
    """
    return values_of(saved, "int64", (rows, columns))
