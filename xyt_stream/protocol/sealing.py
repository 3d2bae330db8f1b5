"""Seals frames of codes from end to end, so that the server between two clients cannot read them.

    frame    stream, 8 bytes | number, 4 bytes | AES-256-GCM of the packed codes | tag, 16 bytes
    key      HKDF-SHA-256 of the room's key; salt: the stream; info: "xyt.v1 sealed SPEAKER ROOM"
    nonce    the number, 12 bytes, little-endian

Each session draws its stream at random, so that a key is new with every session, and counts its
frames; a resumed session repeats the same bytes. Every frame can be opened by itself, because a
listener may come late and a slow one loses frames.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from xyt_stream.errors import ProtocolError, RoomKeyError
from xyt_stream.protocol.error_table import protocol_error

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SHORTEST_KEY = 16  # characters; a guessed key opens what a server has kept
OVERHEAD = 28  # bytes that sealing adds to a frame
_STREAM = 8  # bytes
_NUMBER = 4  # bytes
_NONCE = 12  # bytes
_LAST = (1 << 8 * _NUMBER) - 1  # number of a stream's last frame, after ten years

# By role: the speaker as which a client seals, and those whom it hears; for "speaker" by its voice.
_SEALS_AS = {"mic": "mic", "loopback": "loopback", "user": "user", "model": "model"}
_HEARS = {"loopback": ("loopback",), "user": ("model",), "model": ("user",)}
_VOICES = {None: ("mic", "model"), "user": ("mic", "user"), "model": ("model",)}


def make_key() -> str:
    """Makes a key for a room: 128 random bits as 22 characters."""
    return secrets.token_urlsafe(16)


def sealed_media(role: str) -> tuple[str | None, tuple[str, ...]]:
    """The `send` and `receive` of a `hello` for sealed codes.

    Raises:
        ProtocolError: not_allowed: the server must hear a client with this role.
    """
    if role not in _SEALS_AS and role != "speaker":
        raise protocol_error(
            "not_allowed", f"The role {role} cannot be encrypted: leave the key out."
        )
    sends = "sealed" if role in _SEALS_AS else None
    hears = ("sealed",) if role in _HEARS or role == "speaker" else ()
    return sends, hears


class Sealing:
    """Seals one session's frames and opens those that it hears.

    Args:
        key: of the room, at least SHORTEST_KEY characters.
        role, room, voice: of the session, as in `hello`.

    Raises:
        RoomKeyError: the key is too short.
    """

    def __init__(self, key: str, role: str, room: str | None, voice: str | None = None) -> None:
        if len(key) < SHORTEST_KEY:
            raise RoomKeyError(
                f"A room's key has at least {SHORTEST_KEY} characters: `xyt-stream key` makes one."
            )
        derive = _derivation(key.encode(), room or "")
        self._derive = derive
        self._hears = _VOICES.get(voice, ()) if role == "speaker" else _HEARS.get(role, ())
        self._stream = secrets.token_bytes(_STREAM)
        self._sent = 0
        self._seal = derive(_SEALS_AS[role], self._stream) if role in _SEALS_AS else None
        self._heard: dict[bytes, tuple[AESGCM, int]] = {}  # the latest number by stream
        self._current = b""  # stream of the latest frame

    def seal(self, frame: bytes) -> bytes:
        """Seals the next frame of the session, OVERHEAD bytes longer."""
        if self._sent > _LAST:
            raise protocol_error("time_over", "The stream is too long for its key: begin anew.")
        assert self._seal is not None
        number = self._sent.to_bytes(_NUMBER, "little")
        self._sent += 1
        return self._stream + number + self._seal.encrypt(_nonce(number), frame, None)

    def open(self, sealed: bytes) -> bytes:
        """Opens a frame.

        Raises:
            ProtocolError: bad_seal: another key, or a frame that was altered, repeated or moved.
        """
        stream, number = sealed[:_STREAM], sealed[_STREAM : _STREAM + _NUMBER]
        rest = sealed[_STREAM + _NUMBER :]
        if stream in self._heard:
            key, latest = self._heard[stream]
            frame = _open(key, number, rest)
            if stream != self._current or int.from_bytes(number, "little") <= latest:
                raise protocol_error(
                    "bad_seal", "A frame came again or out of order: it is not to be trusted."
                )
        else:
            key, frame = self._first(stream, number, rest)
        self._heard[stream] = key, int.from_bytes(number, "little")
        self._current = stream
        return frame

    def _first(self, stream: bytes, number: bytes, rest: bytes) -> tuple[AESGCM, bytes]:
        """Opens the first frame of a stream; returns its key, too."""
        from cryptography.exceptions import InvalidTag

        for speaker in self._hears:
            key = self._derive(speaker, stream)
            try:
                return key, key.decrypt(_nonce(number), rest, None)
            except InvalidTag:
                continue
        raise _unfit()


def _derivation(secret: bytes, room: str) -> Callable[[str, bytes], AESGCM]:
    """Makes the function that derives a stream's key for a speaker."""
    # Not at the top: clients of rooms that are not encrypted start without it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    def derive(speaker: str, stream: bytes) -> AESGCM:
        info = f"xyt.v1 sealed {speaker} {room}".encode()
        return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=stream, info=info).derive(secret))

    return derive


def _open(key: AESGCM, number: bytes, rest: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return key.decrypt(_nonce(number), rest, None)
    except InvalidTag:
        raise _unfit() from None


def _nonce(number: bytes) -> bytes:
    return number.ljust(_NONCE, b"\0")


def _unfit() -> ProtocolError:
    return protocol_error(
        "bad_seal", "A frame cannot be opened: its key is another one, or it was altered."
    )
