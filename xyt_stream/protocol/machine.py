"""Implements what the state machines of both ends share, without sockets (sans I/O).

    client                        server
      | -- hello ------------------> |   WAITING
      | <------------ ready, error - |   OPEN, or CLOSED
      | -- media, ack, ping, end --> |   in a conversation: clear, cleared
      | <- media, ack, pong, notice  |   clear, cleared, playing
      | <--------------- end, error  |   CLOSED, and the websocket closes

A session that is resumed on another websocket keeps its two machines: `disconnected` leads back to
WAITING, and the sequence numbers continue.

A machine raises ProtocolError for an illegal message of the other end, with the name and close code
to answer with, and for an illegal message of its own end.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec
import numpy as np

from xyt_stream.audio import Pcm16
from xyt_stream.errors import CodeError
from xyt_stream.protocol import messages
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import Ack, Control, Flags, Kind, Media, Model, Ready
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.payloads import Payload
from xyt_stream.protocol.roles import ROLES

_KIND = {"pcm": Kind.PCM, "codes": Kind.CODES, "sealed": Kind.SEALED}
# Plain numbers: a relay reads and writes thousands of headers a second.
_KIND_OF = {int(kind): kind for kind in Kind}
_GAP = int(Flags.GAP)


class State(enum.Enum):
    """State of a session at one end."""

    WAITING = "waiting"  # for hello or its answer
    OPEN = "open"
    CLOSED = "closed"


class Pcm(msgspec.Struct, frozen=True, eq=False):
    """Received sound: int16 [samples]; `frame` is the code frame that it begins in or came from.

    `gap`: something between this message and the one before was dropped.
    """

    frame: int
    samples: Pcm16
    gap: bool = False


class Codes(msgspec.Struct, frozen=True, eq=False):
    """Received codes: int64 [codebooks, frames]; `frame` is the index of the first frame.

    `gap`: something between this message and the one before was dropped.
    """

    frame: int
    codes: CodeArray
    gap: bool = False


Event: TypeAlias = Pcm | Codes | Control


class Machine:
    """Holds the state and the media of each direction; base class of both ends."""

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
        """Sequence number of the last media message that was sent; None before the first."""
        return self._sent - 1 if self._sent else None

    @property
    def sending_over(self) -> bool:
        """Whether this end has sent `end`."""
        return self._sending_over

    @property
    def receiving_over(self) -> bool:
        """Whether the other end has sent `end`."""
        return self._receiving_over

    def restore(self, *, sent: int, received: int, receiving_over: bool) -> None:
        """Goes on as another machine that has sent and received so many binary messages."""
        self._sent, self._received = sent, received
        self._receiving_over = receiving_over

    def disconnected(self) -> None:
        """Returns to WAITING after the websocket was lost; a new hello and ready reopen it."""
        self.state = State.WAITING

    def pcm(self, frame: int, samples: Pcm16, *, gap: bool = False) -> bytes:
        """Encodes a media message of int16 [samples].

        Raises:
            ProtocolError: not_allowed.
        """
        self._check_may_send(Kind.PCM)
        return self._send(Kind.PCM, frame, samples.astype("<i2").tobytes(), gap)

    def codes(self, frame: int, codes: CodeArray, *, gap: bool = False) -> bytes:
        """Encodes a media message of int64 [codebooks, frames].

        Raises:
            ProtocolError: not_allowed.
            CodeError: the codes are not this codec's.
        """
        self._check_may_send(self._payload.kind)
        return self._send(self._payload.kind, frame, self._payload.pack(codes), gap)

    def control(self, message: Control) -> str:
        """Encodes a control message that does not depend on the state."""
        text = messages.encode(message)
        assert isinstance(text, str)
        return text

    def _open(self, ready: Ready, sends: tuple[str, ...], accepts: tuple[str, ...]) -> None:
        self.state = State.OPEN
        self._converses = ROLES[ready.role].converses if ready.role in ROLES else False
        self._sends = frozenset(_KIND[name] for name in sends)
        self._accepts = frozenset(_KIND[name] for name in accepts)
        self._payload = self._payload_of(ready.model)

    @property
    def _is_sealed(self) -> bool:
        return Kind.SEALED in self._sends | self._accepts

    def _payload_of(self, model: Model) -> Payload:
        """The form of codes at this end."""
        raise NotImplementedError

    def _check_may_send(self, kind: Kind) -> None:
        if self.state is not State.OPEN or self._sending_over or kind not in self._sends:
            raise protocol_error("not_allowed", f"This end may not send {kind.name.lower()} now.")

    def _send(self, kind: Kind, frame: int, payload: bytes, gap: bool) -> bytes:
        data = messages.encode_media(kind, self._sent, frame, payload, _GAP if gap else 0)
        self._sent += 1
        return data

    def _receive_ack(self, ack: Ack) -> Ack:
        if not 0 <= ack.received < self._sent:
            raise protocol_error("bad_sequence", "A message was acknowledged that was never sent.")
        return ack

    def _receive_media(self, media: Media) -> Event | None:
        if media.seq != self._received:
            raise protocol_error(
                "bad_sequence", f"Message {media.seq} arrived instead of {self._received}."
            )
        self._received += 1
        kind = _KIND_OF.get(media.kind)
        if kind is None:
            return None
        if self._receiving_over or kind not in self._accepts:
            raise protocol_error("not_allowed", f"No {kind.name.lower()} may be sent here and now.")
        gap = media.flags & _GAP != 0
        if kind is Kind.PCM:
            if len(media.payload) % 2:
                raise protocol_error("bad_audio")
            samples = np.frombuffer(media.payload, dtype="<i2").astype(np.int16, copy=False)
            return Pcm(media.frame, samples, gap)
        try:
            codes = self._payload.unpack(media.payload)
        except CodeError as error:
            raise protocol_error("bad_codes", str(error)) from None
        return Codes(media.frame, codes, gap)


def tag(message: Control) -> str:
    """The type of a message, as it is on the wire."""
    return str(message.__struct_config__.tag)
