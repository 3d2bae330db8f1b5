"""Both ends of a session as machines without sockets: bytes and messages, and what is legal when.

    client                        server
      | -- hello ------------------> |   WAITING
      | <------------ ready, error - |   OPEN, or CLOSED
      | -- media, ack, ping, end --> |   in a conversation: clear, cleared
      | <- media, ack, pong, notice  |   clear, cleared, playing
      | <--------------- end, error  |   CLOSED, and the websocket closes

A session that goes on over another websocket keeps its two machines: `interrupted` leads back to
WAITING, and the numbers go on from where they were.

A machine raises ProtocolError for what the other end must not send, with the name and close code to
answer with, and for what its own end must not send.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from xyt_stream.audio import Pcm16
from xyt_stream.errors import CodeError, ProtocolError
from xyt_stream.protocol import messages
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import (
    Ack,
    Clear,
    Cleared,
    Control,
    End,
    Error,
    Flags,
    Hello,
    Kind,
    Media,
    Notice,
    Ping,
    Playing,
    Pong,
    Ready,
)
from xyt_stream.protocol.packing import CodeArray, code_bits, pack_codes, unpack_codes
from xyt_stream.protocol.roles import ROLES

_TO_CLIENTS = (Notice, Pong, Clear, Cleared, Playing)  # at any time
_KIND = {"pcm": Kind.PCM, "codes": Kind.CODES}


class State(enum.Enum):
    """How far a session has come."""

    WAITING = "waiting"  # for hello and its answer
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True)
class Pcm:
    """Sound: int16 [samples]; `frame` is the code frame it begins in or came out of."""

    frame: int
    samples: Pcm16
    gap: bool = False


@dataclass(frozen=True)
class Codes:
    """Codes: int64 [codebooks, frames]; `frame` is the index of the first."""

    frame: int
    codes: CodeArray
    gap: bool = False


Event: TypeAlias = Pcm | Codes | Control


class _Machine:
    """What both ends share: the state and the media of each direction."""

    def __init__(self) -> None:
        self.state = State.WAITING
        self._sends: frozenset[Kind] = frozenset()
        self._accepts: frozenset[Kind] = frozenset()
        self._sent = 0  # binary messages
        self._received = 0
        self._sending_over = False
        self._receiving_over = False

    @property
    def received(self) -> int | None:
        """Sequence number of the last media message that arrived; None before the first."""
        return self._received - 1 if self._received else None

    @property
    def sent(self) -> int | None:
        """Sequence number of the last media message made here."""
        return self._sent - 1 if self._sent else None

    @property
    def sending_over(self) -> bool:
        """Whether this end has said `end`."""
        return self._sending_over

    @property
    def receiving_over(self) -> bool:
        """Whether the other end has."""
        return self._receiving_over

    def interrupted(self) -> None:
        """The websocket was lost; a new hello and its ready will open the session again."""
        self.state = State.WAITING

    def pcm(self, frame: int, samples: Pcm16, *, gap: bool = False) -> bytes:
        """A media message of int16 [samples].

        Raises:
            ProtocolError: not_allowed.
        """
        return self._send(Kind.PCM, frame, samples.astype("<i2").tobytes(), gap)

    def codes(self, frame: int, codes: CodeArray, *, gap: bool = False) -> bytes:
        """A media message of int64 [codebooks, frames].

        Raises:
            ProtocolError: not_allowed.
            CodeError: the codes are not this codec's.
        """
        self._check_codes(codes)
        return self._send(Kind.CODES, frame, pack_codes(codes, self._bits), gap)

    def control(self, message: Control) -> str:
        """Any control message that needs no state of its own."""
        text = messages.write(message)
        assert isinstance(text, str)
        return text

    def _open(self, ready: Ready, sends: tuple[str, ...], accepts: tuple[str, ...]) -> None:
        self.state = State.OPEN
        self._converses = ROLES[ready.role].converses if ready.role in ROLES else False
        self._codebooks = ready.model.codebooks
        self._codebook_size = ready.model.codebook_size
        self._bits = code_bits(ready.model.codebook_size)
        self._sends = frozenset(_KIND[name] for name in sends)
        self._accepts = frozenset(_KIND[name] for name in accepts)

    def _send(self, kind: Kind, frame: int, payload: bytes, gap: bool) -> bytes:
        if self.state is not State.OPEN or self._sending_over or kind not in self._sends:
            raise protocol_error("not_allowed", f"This end may not send {kind.name.lower()} now.")
        media = Media(kind, self._sent, frame, payload, Flags.GAP if gap else Flags.NONE)
        self._sent += 1
        data = messages.write(media)
        assert isinstance(data, bytes)
        return data

    def _receive_ack(self, ack: Ack) -> Ack:
        if not 0 <= ack.received < self._sent:
            raise protocol_error("bad_sequence", "What was acknowledged was never sent.")
        return ack

    def _receive_media(self, media: Media) -> Event | None:
        if media.seq != self._received:
            raise protocol_error(
                "bad_sequence", f"Message {media.seq} came where {self._received} was due."
            )
        self._received += 1
        if media.kind not in tuple(Kind):
            return None
        kind = Kind(media.kind)
        if self._receiving_over or kind not in self._accepts:
            raise protocol_error("not_allowed", f"No {kind.name.lower()} may be sent here and now.")
        gap = bool(media.flags & Flags.GAP)
        if kind is Kind.PCM:
            if len(media.payload) % 2:
                raise protocol_error("bad_audio")
            samples = np.frombuffer(media.payload, dtype="<i2").astype(np.int16, copy=False)
            return Pcm(media.frame, samples, gap)
        try:
            codes = unpack_codes(media.payload, self._codebooks, self._bits)
            self._check_codes(codes)
        except CodeError as error:
            raise protocol_error("bad_codes", str(error)) from None
        return Codes(media.frame, codes, gap)

    def _check_codes(self, codes: CodeArray) -> None:
        if codes.ndim != 2 or len(codes) != self._codebooks:
            raise CodeError(f"Codes must be [{self._codebooks}, frames], not {list(codes.shape)}.")
        if codes.size and not 0 <= codes.min() <= codes.max() < self._codebook_size:
            raise CodeError(f"A code is out of range: 0 to {self._codebook_size - 1}.")


class ServerMachine(_Machine):
    """The server's end of one session."""

    def receive(self, data: str | bytes) -> Event | None:
        """What the client's message says; None where it is to be ignored.

        Raises:
            ProtocolError: the session is over; answer with `error` and close.
        """
        message = messages.read(data)
        if self.state is State.WAITING:
            if not isinstance(message, Hello):
                raise protocol_error("hello_expected")
            _check_hello(message)
            return message
        if isinstance(message, Media):
            return self._receive_media(message)
        if message is None or isinstance(message, Ping):
            return message
        if isinstance(message, Ack):
            return self._receive_ack(message)
        if isinstance(message, End) and not self._receiving_over:
            self._receiving_over = True
            return message
        if isinstance(message, Clear) and self._converses and not self._receiving_over:
            return message
        if isinstance(message, Cleared) and self._converses:
            return message
        raise protocol_error("not_allowed", f"No {_tag(message)} may be sent here and now.")

    def ready(self, ready: Ready) -> str:
        """Answers `hello`; the session is open."""
        self._open(ready, ready.receive, () if ready.send is None else (ready.send,))
        return self.control(ready)

    def end(self, end: End) -> str:
        """The server's last message of a session that went well."""
        self.state = State.CLOSED
        return self.control(end)

    def error(self, error: ProtocolError) -> str:
        """The server's last message of a session that did not."""
        self.state = State.CLOSED
        return self.control(
            Error(
                name=error.name,
                message=str(error),
                code=error.close_code,
                retry_after=error.retry_after,
            )
        )


class ClientMachine(_Machine):
    """The client's end of one session."""

    def hello(self, hello: Hello) -> str:
        """The first message.

        Raises:
            ProtocolError: what the server would answer it with.
        """
        _check_hello(hello)
        return self.control(hello)

    def receive(self, data: str | bytes) -> Event | None:
        """What the server's message says; None where it is to be ignored.

        Raises:
            ProtocolError: the server breaks the protocol.
        """
        message = messages.read(data)
        if isinstance(message, Media):
            if self.state is not State.OPEN:
                raise protocol_error("not_allowed", "Media came before ready or after the end.")
            return self._receive_media(message)
        if isinstance(message, Ack) and self.state is State.OPEN:
            return self._receive_ack(message)
        if isinstance(message, Ready) and self.state is State.WAITING:
            self._open(message, () if message.send is None else (message.send,), message.receive)
        elif isinstance(message, Error) or (isinstance(message, End) and self.state is State.OPEN):
            self.state = State.CLOSED
        elif not (message is None or isinstance(message, _TO_CLIENTS)):
            raise protocol_error("not_allowed", f"No {_tag(message)} may be sent here and now.")
        return message

    def clear(self) -> str:
        """Drop what the model has said and the user has not heard.

        Raises:
            ProtocolError: not_allowed.
        """
        if self.state is not State.OPEN or self._sending_over or not self._converses:
            raise protocol_error("not_allowed", "Only a user or a model may clear, before its end.")
        return self.control(Clear())

    def end(self) -> str:
        """Nothing more will be sent.

        Raises:
            ProtocolError: not_allowed: it was said before.
        """
        if self.state is not State.OPEN or self._sending_over:
            raise protocol_error("not_allowed", "The session has ended already.")
        self._sending_over = True
        return self.control(End())


def _check_hello(hello: Hello) -> None:
    role = ROLES.get(hello.role)
    if role is None:
        raise protocol_error("unknown_role", f"There is no such role: use {', '.join(ROLES)}.")
    if role.in_room not in ("may", "no" if hello.room is None else "yes"):
        verb = "must" if role.in_room == "yes" else "may not"
        raise protocol_error("bad_message", f"A {role.name} {verb} name a room.")
    if hello.room is not None and not 0 < len(hello.room) <= messages.MAX_NAME:
        raise protocol_error(
            "bad_message", f"A room's name has 1 to {messages.MAX_NAME} characters."
        )
    if hello.voice is not None and (role.name != "speaker" or hello.voice not in ("user", "model")):
        raise protocol_error("bad_message", "Only a speaker may ask for a voice: user or model.")
    if not set(hello.receive or ()) <= set(role.may_receive):
        raise protocol_error(
            "not_allowed", f"A {role.name} may receive: {', '.join(role.may_receive) or 'nothing'}."
        )
    for rate in (hello.send_rate, hello.receive_rate):
        if rate is not None and rate not in messages.RATES:
            rates = ", ".join(map(str, messages.RATES))
            raise protocol_error("unsupported_format", f"{rate} Hz is none of {rates} Hz.")
    if hello.format != messages.PCM_FORMAT:
        raise protocol_error(
            "unsupported_format", f"The format of sound must be {messages.PCM_FORMAT}."
        )


def _tag(message: Control) -> str:
    return str(message.__struct_config__.tag)
