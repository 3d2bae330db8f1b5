"""Finds the files that an ONNX graph reads data from, in its bytes: it needs no onnx package."""

from __future__ import annotations

from collections.abc import Iterator

from xyt_stream.errors import ModelError

DEEPEST = 32  # messages inside messages
# Of the messages that may hold a tensor, their fields that do, by number (onnx.proto).
FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
KEY, VALUE = 1, 2  # of an entry
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # kinds of field


def locations(graph: bytes) -> set[str]:
    """The file names that a graph reads its external data from, as they stand there.

    Raises:
        ModelError: it is no graph.
    """
    try:
        return set(_locations(memoryview(graph), "model", 0))
    except (IndexError, UnicodeDecodeError):
        raise ModelError("the graph is damaged") from None


def _locations(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > DEEPEST:
        raise ModelError("the graph is nested too deeply")
    for number, content in _fields(message):
        inner = FIELDS[kind].get(number)
        if inner == "entry":
            entry = dict(_fields(content))
            if bytes(entry.get(KEY, b"")) == b"location":
                yield bytes(entry.get(VALUE, b"")).decode()
        elif inner is not None:
            yield from _locations(content, inner, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of the fields that hold bytes."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == VARINT:
            _, place = _varint(message, place)
        elif kind == FIXED64:
            place += 8
        elif kind == FIXED32:
            place += 4
        elif kind == BYTES:
            length, place = _varint(message, place)
            if length > len(message) - place:
                raise IndexError
            yield tag >> 3, message[place : place + length]
            place += length
        else:
            raise IndexError


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise IndexError
