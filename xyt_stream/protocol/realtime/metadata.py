"""Checks the metadata that a client attaches to a response."""

from __future__ import annotations

from typing import Any

import msgspec

from xyt_stream.errors import EventError

_MOST = 16  # pairs
_KEY, _VALUE = 64, 512  # characters


def check_metadata(given: Any) -> tuple[dict[str, str] | None, EventError | None]:
    """Checks metadata.

    Returns:
        The metadata and the error; one of them is None, or both are.
    """
    if given is None:
        return None, None
    try:
        pairs = msgspec.convert(given, dict[str, str])
    except msgspec.ValidationError:
        return None, _wrong("invalid_type", "Metadata is an object whose values are strings.")
    if len(pairs) > _MOST:
        return None, _wrong("object_above_max_properties", f"At most {_MOST} pairs fit.")
    if any(len(key) > _KEY or len(value) > _VALUE for key, value in pairs.items()):
        return None, _wrong(
            "string_above_max_length", f"Keys have {_KEY} characters at most, values {_VALUE}."
        )
    return pairs, None


def _wrong(code: str, message: str) -> EventError:
    return EventError(code, f"{message} The response has none.", "response.metadata")
