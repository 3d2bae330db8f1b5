"""Talks with another node over a websocket: both prove that they know the shared secret.

Both ends begin with a random number. The key of a connection is made of the secret, both numbers,
and both names, so nothing that was recorded fits another connection. Each message then carries an
HMAC of its direction, its number, and its bytes: altered, repeated, and left-out ones do not fit.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import struct
from typing import Any, TypeAlias

import msgspec
from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed

from xyt_stream.errors import HandoverError
from xyt_stream.protocol.place import is_node_name
from xyt_stream.server.handover.message import MAX_BYTES, VERSION

SUBPROTOCOL = "xyt.handover.v1"
MAX_FRAME = MAX_BYTES + 4096  # bytes of one message on the wire
_FEW = 1 << 14  # bytes that take no time to authenticate
_MAC = hashlib.sha256().digest_size
_NONCE = 32  # bytes
_TAKER, _GIVER = b"taker", b"giver"


class Greeting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first message of each end."""

    version: int
    node: str
    nonce: bytes
    proof: bytes = b""


class Take(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="take"):
    """Asks for the session with this key, and all that move with it."""

    key: str


class Refused(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="refused"):
    """The session does not move from here; `node` has it, where that is known.

    Attributes:
        stays: whether the client is to come to that node; otherwise it may be asked, too.
    """

    reason: str
    node: str | None = None
    stays: bool = False


class Unit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="unit"):
    """The sessions, as message.pack makes them."""

    data: bytes


class Commit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="commit"):
    """The taker has them all and asks to own them."""


class Done(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="done"):
    """The giver has given them up."""


Message: TypeAlias = Take | Refused | Unit | Commit | Done


class Dialect:
    """The messages of one kind of connection between nodes.

    Args:
        subprotocol: of its websocket.
        messages: type of its messages.
    """

    def __init__(self, subprotocol: str, messages: Any) -> None:
        self.subprotocol = subprotocol
        self.decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(messages)


HANDOVER = Dialect(SUBPROTOCOL, Message)

_greetings = msgspec.msgpack.Decoder(Greeting)
_encode = msgspec.msgpack.Encoder().encode


class Channel:
    """An authenticated connection to another node; `open_taker` and `open_giver` make it.

    Attributes:
        node: name of the other end.
    """

    def __init__(
        self, websocket: Connection, key: bytes, node: str, mine: bytes, dialect: Dialect
    ) -> None:
        self.node = node
        self._dialect = dialect
        self._websocket = websocket
        self._key = key
        self._mine, self._theirs = (_TAKER, _GIVER) if mine == _TAKER else (_GIVER, _TAKER)
        self._sent = self._received = 0

    @property
    def close_code(self) -> int | None:
        """Code with which the connection was closed; None: it is open."""
        return self._websocket.close_code

    async def send(self, message: msgspec.Struct) -> None:
        """Sends a message.

        Raises:
            HandoverError: the connection is lost.
        """
        data = _encode(message)
        mac = await self._mac(self._mine, self._sent, data)
        self._sent += 1
        try:
            await self._websocket.send(mac + data)
        except ConnectionClosed:
            raise HandoverError("the connection between the nodes was lost") from None

    async def receive(self, seconds: float | None) -> msgspec.Struct:
        """Waits for a message, so many seconds, or with None as long as the connection lasts.

        Raises:
            HandoverError: none comes in time, the connection is lost, or it is not authentic.
        """
        raw = await _receive(self._websocket, seconds)
        mac, data = raw[:_MAC], memoryview(raw)[_MAC:]
        wanted = await self._mac(self._theirs, self._received, data)
        if not hmac.compare_digest(mac, wanted):
            raise HandoverError("a message of the other node is not authentic")
        self._received += 1
        try:
            message: msgspec.Struct = self._dialect.decoder.decode(data)
        except (msgspec.DecodeError, RecursionError):
            raise HandoverError("a message of the other node cannot be read") from None
        return message

    async def _mac(self, direction: bytes, number: int, data: bytes | memoryview) -> bytes:
        if len(data) <= _FEW:
            return _mac(self._key, direction, number, data)
        return await asyncio.to_thread(_mac, self._key, direction, number, data)


async def open_taker(
    websocket: Connection, secret: bytes, node: str, seconds: float, dialect: Dialect = HANDOVER
) -> Channel:
    """Greets the giver at the other end; `node` is the own name.

    Raises:
        HandoverError: it does not know the secret, or does not answer.
    """
    mine = Greeting(VERSION, node, secrets.token_bytes(_NONCE))
    await websocket.send(_encode(mine))
    theirs = _read_greeting(await _receive(websocket, seconds))
    key = _key(secret, mine, theirs, dialect)
    if not hmac.compare_digest(theirs.proof, _mac(key, _GIVER, 0, b"greeting")):
        raise HandoverError("the other node does not know the secret")
    return Channel(websocket, key, theirs.node, _TAKER, dialect)


async def open_giver(
    websocket: Connection, secret: bytes, node: str, seconds: float, dialect: Dialect = HANDOVER
) -> Channel:
    """Answers the greeting of a taker, which is authentic once its first message is.

    Raises:
        HandoverError: it is of another version, or does not greet.
    """
    theirs = _read_greeting(await _receive(websocket, seconds))
    mine = Greeting(VERSION, node, secrets.token_bytes(_NONCE))
    key = _key(secret, theirs, mine, dialect)
    mine = msgspec.structs.replace(mine, proof=_mac(key, _GIVER, 0, b"greeting"))
    try:
        await websocket.send(_encode(mine))
    except ConnectionClosed:
        raise HandoverError("the connection between the nodes was lost") from None
    return Channel(websocket, key, theirs.node, _GIVER, dialect)


def _read_greeting(data: bytes) -> Greeting:
    try:
        greeting = _greetings.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise HandoverError("the other end does not greet as a node does") from None
    if greeting.version != VERSION:
        raise HandoverError(f"the other node is of version {greeting.version}, not {VERSION}")
    if len(greeting.nonce) != _NONCE or not is_node_name(greeting.node):
        raise HandoverError("the other end does not greet as a node does")
    return greeting


async def _receive(websocket: Connection, seconds: float | None) -> bytes:
    try:
        if seconds is None:
            data = await websocket.recv()
        else:
            data = await asyncio.wait_for(websocket.recv(), seconds)
    except asyncio.TimeoutError:
        raise HandoverError("the other node does not answer") from None
    except ConnectionClosed:
        raise HandoverError("the connection between the nodes was lost") from None
    if not isinstance(data, bytes):
        raise HandoverError("the other end sends text")
    return data


def _key(secret: bytes, taker: Greeting, giver: Greeting, dialect: Dialect) -> bytes:
    names = f"{dialect.subprotocol}{taker.node} {giver.node} {VERSION} ".encode()
    return hmac.digest(secret, names + taker.nonce + giver.nonce, "sha256")


def _mac(key: bytes, direction: bytes, number: int, data: bytes | memoryview) -> bytes:
    made = hmac.new(key, direction + struct.pack("<Q", number), "sha256")
    made.update(data)
    return made.digest()
