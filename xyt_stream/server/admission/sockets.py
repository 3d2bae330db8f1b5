"""Reads a websocket in small slices, within its budget, and notices when the client is gone.

The websockets library parses all bytes that have arrived at once, answers each ping as it comes,
and does not see the end of a connection that it does not read.
"""

from __future__ import annotations

import asyncio
import select
import sys
import time
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import Server, ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State
from websockets.server import ServerProtocol

from xyt_stream.errors import ProtocolError
from xyt_stream.server.admission import requests
from xyt_stream.server.admission.budget import Budget, Kind
from xyt_stream.server.admission.handshakes import Handshakes
from xyt_stream.server.admission.turns import Turns

_MAX_UNSENT = 1 << 20  # bytes; sends of our own wait for the client long before
_MAX_UNREAD = 1 << 18  # bytes of whole messages that wait for the session
_MAX_FRAGMENTS = 4096  # of a message; websockets 17 has the same limit, 16 (Python 3.10) has none
_MAX_HEAD = 1 << 16  # bytes of a request's first line and headers
_SLICE = 512  # bytes; at most 85 frames, half a millisecond
_AT_ONCE = 0.001  # seconds of reading at once for a calm client
_DISCARD_EVERY = 0.02  # seconds between reads of what is thrown away
_CHECK_EVERY = 1.0  # seconds between looks at a connection that is not read
_FAIL_TIMEOUT = 2.0  # seconds that the client has to read why its connection ends


class Socket(ServerConnection):
    """A websocket with a budget. For the event loop's thread.

    Args:
        protocol, server, options: see ServerConnection.
        budget: of the connection.
        turns: shares the event loop with the server's other sockets.
        handshakes: counts the connection until a session takes it.

    Attributes:
        budget: of the connection.
        wants_body: whether an HTTP answer is to have its body.
        posts: whether the request is a POST, which the websockets library takes for a GET.
        exceeded: done, with the reason, when the client has sent too much: the connection must end.
    """

    def __init__(
        self,
        protocol: ServerProtocol,
        server: Server,
        *,
        budget: Budget,
        turns: Turns,
        handshakes: Handshakes,
        **options: Any,
    ) -> None:
        super().__init__(protocol, server, **options)
        self.budget = budget
        self.exceeded: asyncio.Future[ProtocolError] = self.loop.create_future()
        self._turns = turns
        self._handshakes = handshakes
        self._pending = bytearray()  # received, not parsed
        self._unread = 0  # bytes of whole messages that the session has not received
        self._begun = 0  # bytes of the message that has begun
        self._fragments = 0  # of the same
        self.wants_body = True
        self.posts = False
        self._head_seen = False  # whether the request's head was looked at
        self._in_turns = False
        self._paused = False  # whether the transport is
        self._check: asyncio.TimerHandle | None = None

    def spend(self, kind: Kind, amount: float) -> None:
        """Spends of the budget; sets `exceeded` if it is not enough."""
        if not self.exceeded.done():
            try:
                self.budget.spend(kind, amount)
            except ProtocolError as error:
                self.exceeded.set_result(error)
                self._pending.clear()
                if self.state is State.CONNECTING:
                    self.transport.abort()
                self._resume()  # and discards what comes, see data_received

    def spend_work(self, seconds: float) -> None:
        """Spends processor time of reading."""
        self.spend("work", seconds)
        self.answered(seconds)

    def answered(self, seconds: float) -> None:
        """Counts processor time of writing: that of a flood's answers is the flood's."""
        if not self.budget.calm:
            self._turns.charge(seconds)

    async def fail(self, code: int, reason: str) -> None:
        """Ends the connection without reading what the client still sends."""
        if self.state is State.OPEN:
            self.protocol.fail(code, reason)
            self.send_data()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.wait_closed(), _FAIL_TIMEOUT)
        self.transport.abort()

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.recv_messages.pause = self.recv_messages.resume = self._balance
        peer = transport.get_extra_info("peername")
        if not self._handshakes.enter(self, str(peer[0]) if peer else "", self.transport.abort):
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.exceeded.done() or self.protocol.parser_exc is not None:
            # Data that is never read would reset the connection before its error arrives.
            self._pause()
            self.loop.call_later(_DISCARD_EVERY, self._resume)
            return
        self._pending += data
        whole_head = self._head_seen or self._see_head(len(data))
        if whole_head and self.budget.calm and not self._in_turns:
            end = time.perf_counter() + _AT_ONCE
            while self.read_slice() and time.perf_counter() < end:
                pass
        # Charged after the first slices: the header of a message too large names its own error.
        if not self.exceeded.done() and self.protocol.parser_exc is None:
            self.spend("bytes", len(data))
        if whole_head:
            self._balance()

    def _see_head(self, grown: int) -> bool:
        """Looks at the request once its head is complete; returns whether it may be parsed.

        Args:
            grown: bytes that have just come.
        """
        searched = len(self._pending) - grown - len(requests.END) + 1
        end = self._pending.find(requests.END, max(0, searched))
        if (len(self._pending) if end < 0 else end) > _MAX_HEAD:
            self.transport.abort()
            return False
        if end < 0 and requests.looks_like_http(bytes(self._pending[:8192])):
            return False
        self._head_seen = True
        answer = None if end < 0 else requests.refusal(bytes(self._pending[:end]))
        if answer is not None:
            self.transport.write(answer)
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.exceeded.cancel()  # what else comes is thrown away
            self._pending.clear()
            self.loop.call_later(_FAIL_TIMEOUT, self.transport.abort)
            return False
        if self._pending.startswith(b"HEAD "):
            self.wants_body = False
            self._pending[:4] = b"GET"
        if self._pending.startswith(b"POST "):
            self.posts = True
            self._pending[:4] = b"GET"
        return True

    def read_slice(self) -> bool:
        """Parses the next slice; returns whether more can be parsed now."""
        if self._can_parse:
            piece = bytes(self._pending[:_SLICE])
            del self._pending[:_SLICE]
            began = time.thread_time()
            super().data_received(piece)
            self.spend_work(time.thread_time() - began)
            if self.transport.get_write_buffer_size() > _MAX_UNSENT:
                self.transport.abort()
        if not self._can_parse:
            self._in_turns = False
            self._balance()
        return self._can_parse

    def process_event(self, event: Event) -> None:
        super().process_event(event)
        if not isinstance(event, Frame):
            return
        self.spend("messages", 1)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._begun += len(event.data)
            self._fragments += 1
            if event.fin:
                self._unread += self._begun
                self._begun = self._fragments = 0
            elif self._fragments > _MAX_FRAGMENTS:
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._handshakes.leave(self)
        self._pending.clear()
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    # To the session.

    async def recv(self, decode: bool | None = None) -> Any:
        """Receives a message; see ServerConnection."""
        data = await super().recv(decode)
        whole = data if isinstance(data, bytes) or data.isascii() else data.encode()
        self._unread -= len(whole)
        self._balance()
        return data

    async def send(self, message: Any, *, text: bool | None = None) -> None:
        """Sends a message; see ServerConnection.

        Whole binary messages, which a relay sends by the ten thousand, take a short cut: the
        library's own way costs 10 us more.
        """
        if type(message) is not bytes or text is not None or self.protocol.state is not State.OPEN:
            await super().send(message, text=text)
            return
        self.protocol.send_binary(message)
        try:
            self.send_data()
            await self.drain()
        except Exception as error:  # as the library does: the connection is over
            self.transport.abort()
            await asyncio.shield(self.connection_lost_waiter)
            raise self.close_exc from error

    @property
    def _held(self) -> bool:
        """Whether the session must take messages before more are parsed."""
        return self.recv_messages.paused or self._unread > _MAX_UNREAD

    @property
    def _can_parse(self) -> bool:
        return bool(self._pending) and not self._held and not self.transport.is_closing()

    def _balance(self) -> None:
        """Parses on, or reads on, as far as the session takes messages."""
        if self.exceeded.done():
            return
        if self._can_parse and not self._in_turns:
            self._in_turns = True
            self._turns.add(self)
        if self._pending or self._held:
            self._pause()
        else:
            self._resume()

    def _pause(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()
            if self._check is None:
                self._check = self.loop.call_later(_CHECK_EVERY, self._look)

    def _resume(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def _look(self) -> None:
        """Ends a connection that is not read, once the client has gone."""
        self._check = None
        if self._paused and not self.transport.is_closing():
            if _has_gone(self.transport):
                self.transport.abort()
            else:
                # A client that has closed, with data on its way, answers anything with a reset.
                if self.state is State.OPEN:
                    self.protocol.send_ping(b"")
                    self.send_data()
                self._check = self.loop.call_later(_CHECK_EVERY, self._look)


def _has_gone(transport: asyncio.Transport) -> bool:
    """Whether the other end has closed the connection, whatever is still unread; on Linux only."""
    found = transport.get_extra_info("socket")
    if found is None or sys.platform != "linux":
        return False
    poll = select.poll()
    poll.register(found.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))
