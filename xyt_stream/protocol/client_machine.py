"""Implements the client's end of a session as a state machine; see machine.py."""

from __future__ import annotations

from xyt_stream.protocol import messages
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.hello import check_hello
from xyt_stream.protocol.machine import Event, Machine, State, tag
from xyt_stream.protocol.messages import (
    Ack,
    Clear,
    Cleared,
    End,
    Error,
    Hello,
    Media,
    Model,
    Notice,
    Playing,
    Pong,
    Ready,
)
from xyt_stream.protocol.payloads import Payload, PlainPayload, SealedPayload
from xyt_stream.protocol.sealing import Sealing

_TO_CLIENTS = (Notice, Pong, Clear, Cleared, Playing)  # at any time


class ClientMachine(Machine):
    """The client's end of one session.

    Args:
        sealing: seals and opens codes; None: they are sent as they are.
    """

    def __init__(self, sealing: Sealing | None = None) -> None:
        super().__init__()
        self._sealing = sealing

    def _payload_of(self, model: Model) -> Payload:
        plain = PlainPayload(model.codebooks, model.codebook_size)
        if not self._is_sealed:
            return plain
        if self._sealing is None:
            raise protocol_error("room_sealed")
        return SealedPayload(plain, self._sealing)

    def hello(self, hello: Hello) -> str:
        """Encodes the first message.

        Raises:
            ProtocolError: the error that the server would answer with.
        """
        check_hello(hello)
        return self.control(hello)

    def receive(self, data: str | bytes) -> Event | None:
        """Decodes and checks a server's message; None: it is to be ignored.

        Raises:
            ProtocolError: the server breaks the protocol.
        """
        message = messages.decode(data)
        if isinstance(message, Media):
            if self.state is not State.OPEN:
                raise protocol_error("not_allowed", "Media came before ready or after the end.")
            return self._receive_media(message)
        if isinstance(message, Ack) and self.state is State.OPEN:
            return self._receive_ack(message)
        if isinstance(message, Ready) and self.state is State.WAITING:
            self._check_sealed(message)
            self._open(message, () if message.send is None else (message.send,), message.receive)
        elif isinstance(message, Error) or (isinstance(message, End) and self.state is State.OPEN):
            self.state = State.CLOSED
        elif not (message is None or isinstance(message, _TO_CLIENTS)):
            raise protocol_error("not_allowed", f"No {tag(message)} may be sent here and now.")
        return message

    def _check_sealed(self, ready: Ready) -> None:
        """A server must not talk a client with a key into anything that is not sealed."""
        kinds = {ready.send, *ready.receive} - {None}
        if self._sealing is not None and not kinds <= {"sealed"}:
            raise protocol_error("room_not_sealed", "The server does not keep the room encrypted.")

    def clear(self) -> str:
        """Encodes `clear`: drop the model's speech that the user has not heard yet.

        Raises:
            ProtocolError: not_allowed.
        """
        if self.state is not State.OPEN or self._sending_over or not self._converses:
            raise protocol_error("not_allowed", "Only a user or a model may clear, before its end.")
        return self.control(Clear())

    def end(self) -> str:
        """Encodes `end`: nothing more will be sent.

        Raises:
            ProtocolError: not_allowed: it was sent before.
        """

        if self.state is not State.OPEN or self._sending_over:
            raise protocol_error("not_allowed", "The session has ended already.")
        self._sending_over = True
        return self.control(End())
