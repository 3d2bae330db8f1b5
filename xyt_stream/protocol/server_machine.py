"""Implements the server's end of a session as a state machine; see machine.py."""

from __future__ import annotations

from xyt_stream.errors import ProtocolError
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
    Ping,
    Ready,
)
from xyt_stream.protocol.payloads import Payload, shared_payload


class ServerMachine(Machine):
    """The server's end of one session. Arrays of codes that it has encoded must not change."""

    def _payload_of(self, model: Model) -> Payload:
        return shared_payload(model.codebooks, model.codebook_size, sealed=self._is_sealed)

    def receive(self, data: str | bytes) -> Event | None:
        """Decodes and checks a client's message; None: it is to be ignored.

        Raises:
            ProtocolError: the session must end; answer with `error` and close.
        """
        message = messages.decode(data)
        if self.state is State.WAITING:
            if not isinstance(message, Hello):
                raise protocol_error("hello_expected")
            check_hello(message)
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
        raise protocol_error("not_allowed", f"No {tag(message)} may be sent here and now.")

    def ack(self, data: str) -> Ack | None:
        """Decodes `ack` as `receive` does; None: it is another message, and nothing has changed.

        Raises:
            ProtocolError: bad_sequence.
        """
        if self.state is State.WAITING or (ack := messages.decode_ack(data)) is None:
            return None
        return self._receive_ack(ack)

    def ready(self, ready: Ready) -> str:
        """Encodes the answer to `hello`, and opens the session."""
        self._open(ready, ready.receive, () if ready.send is None else (ready.send,))
        return self.control(ready)

    def end(self, end: End) -> str:
        """Encodes the last message of a session that ended normally."""
        self.state = State.CLOSED
        return self.control(end)

    def error(self, error: ProtocolError) -> str:
        """Encodes the last message of a session that failed."""
        self.state = State.CLOSED
        return self.control(
            Error(
                name=error.name,
                message=str(error),
                code=error.close_code,
                retry_after=error.retry_after,
                node=error.node,
            )
        )
