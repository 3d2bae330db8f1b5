"""Reads a websocket in small slices, within its budget, and notices when the client is gone.

The websockets library parses all bytes that have arrived at once, answers each ping as it comes,
and does not see the end of a connection that it does not read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import Server, ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State
from websockets.server import ServerProtocol

from xyt_stream.errors import ProtocolError
from xyt_stream.server.admission import requests, small_frames
from xyt_stream.server.admission.budget import Budget, Kind, metered
from xyt_stream.server.admission.handshakes import Handshakes
from xyt_stream.server.admission.reading import Reading
from xyt_stream.server.admission.reclaim import release
from xyt_stream.server.admission.standing import ReadingTurns, Standing
from xyt_stream.server.admission.turns import Turns

_MAX_UNSENT = 1 << 20  # bytes; sends of our own wait for the client long before
_MAX_UNREAD = 1 << 18  # bytes of whole messages that wait for the session
_MAX_FRAGMENTS = 4096  # of a message; websockets 17 has the same limit, 16 (Python 3.10) has none
_SLICE = 512  # bytes; at most 85 frames, half a millisecond
_ACCEPT = 0.0004  # seconds that a connection takes before its first byte, and at its end
_READ = 0.00004  # seconds that the system and the event loop take to read anything at all
_AT_ONCE = 0.001  # seconds of processor time of reading at once for a calm client
_DISCARD_EVERY = 0.02  # seconds between reads of what is thrown away
_RELEASE = 0.1  # seconds after its end that a connection is freed
_FAIL_TIMEOUT = 2.0  # seconds that the client has to read why its connection ends


class Socket(ServerConnection):
    """A websocket with a budget. For the event loop's thread.

    Args:
        protocol, server, options: see ServerConnection.
        budget: of the connection.
        turns: in which the server's connections are read.
        handshakes: counts the connection until a session takes it.

    Attributes:
        budget: of the connection.
        standing: charges processor time to its share of the event loop.
        head: of its request.
        on_unused: called if the connection ends before a session takes it.
        receive_now: takes a message at once, or returns False; set while nothing else is received.
        exceeded: done, with the reason, when the client has sent too much: the connection must end.
    """

    def __init__(
        self,
        protocol: ServerProtocol,
        server: Server,
        *,
        budget: Budget,
        turns: ReadingTurns,
        handshakes: Handshakes,
        **options: Any,
    ) -> None:
        super().__init__(protocol, server, **options)
        self.budget = budget
        self.exceeded: asyncio.Future[ProtocolError] = self.loop.create_future()
        self.standing = Standing(turns, budget)
        self._handshakes = handshakes
        self._pending = bytearray()  # received, not parsed
        self._unread = 0  # bytes of whole messages that the session has not received
        self._begun = 0  # bytes of the message that has begun
        self._fragments = 0  # of the same
        self._unparsed = 0  # bytes that the library has and that are no whole frame yet
        self.receive_now: Callable[[str | bytes], bool] | None = None
        self.head = requests.Head()
        self.on_unused: Callable[[], None] = lambda: None
        self._serving: asyncio.Task[Any] | None = None  # from the handshake to the end
        self._waits_in: Turns | None = None

    def spend(self, kind: Kind, amount: float) -> None:
        """Spends of the budget; sets `exceeded` if it is not enough."""
        if not self.exceeded.done():
            try:
                self.budget.spend(kind, amount)
            except ProtocolError as error:
                self._exceed(error)

    def _exceed(self, error: ProtocolError) -> None:
        self.exceeded.set_result(error)
        self._pending.clear()
        if self.state is State.CONNECTING:
            self.transport.abort()
        self._reading.resume()  # and discards what comes, see data_received

    def spend_work(self, seconds: float) -> None:
        """Spends processor time of reading."""
        self.spend("work", seconds)
        self.standing.answered(seconds)

    async def handshake(self, *args: Any, **options: Any) -> None:
        """Performs the opening handshake; see ServerConnection."""
        self._serving = asyncio.current_task()
        await metered(super().handshake(*args, **options), self.standing.opened)

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
        self._reading = Reading(self.transport, self._ping)
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        if not self._handshakes.enter(self, address, self.transport.abort, self.standing.take):
            self.transport.abort()
        self.standing.opened(_ACCEPT)

    def data_received(self, data: bytes) -> None:
        if self.exceeded.done() or self.protocol.parser_exc is not None:
            # Data that is never read would reset the connection before its error arrives.
            self._reading.pause_for(_DISCARD_EVERY)
            return
        if self.receive_now is not None:
            data = data[self._take_now(data) :]
            if not data or self.exceeded.done():
                return
        self._pending += data
        if self.standing.is_new:
            self.standing.opened(_READ)
        whole_head = self.head.seen or self._see_head(len(data))
        if whole_head and self._waits_in is None and self.standing.reads_at_once:
            # Of processor time: where another thread was let in, a calm client's message must not
            # wait for its turn behind all that floods have to work off.
            end = time.thread_time() + _AT_ONCE
            while self.read_slice() and time.thread_time() < end:
                pass
        # Charged after the first slices: the header of a message too large names its own error.
        if not self.exceeded.done() and self.protocol.parser_exc is None:
            self.spend("bytes", len(data))
        if whole_head:
            self._balance()

    def _take_now(self, data: bytes) -> int:
        """Hands one short message of a calm client to the session; returns how many bytes it took.

        It passes by the library's parser and its queue, so both must be empty. What comes with it
        has to wait, for sessions that hear it must be written to in between.
        """
        take = self.receive_now
        if self._pending or self._unparsed or len(self.recv_messages.frames) or take is None:
            return 0
        if self.protocol.state is not State.OPEN or not self.budget.calm:
            return 0
        began = time.perf_counter()
        if (frame := small_frames.read_short(data)) is None or not take(frame[0]):
            return 0
        # Not the processor's clock, which is a system call: so no more than it can be.
        seconds = min(time.perf_counter() - began, _AT_ONCE)
        try:
            self.budget.spend_message(frame[1], seconds)
        except ProtocolError as error:
            self._exceed(error)
        return frame[1]

    def _see_head(self, grown: int) -> bool:
        """Looks at the request; returns whether it may be parsed.

        Args:
            grown: bytes that have just come.
        """
        began = time.thread_time()
        refused = self.head.look(self._pending, grown)
        self.standing.opened(time.thread_time() - began)
        if refused is not None:
            self._refuse(refused)
        elif not self.head.seen and not self.standing.newcomers_idle:
            self._reading.pause()  # a head that comes byte by byte
            self._take_turns()
        return self.head.seen and refused is None

    def _refuse(self, answer: bytes) -> None:
        """Answers a request that is not parsed; an empty answer only ends the connection."""
        self.exceeded.cancel()  # what else comes is thrown away
        self._pending.clear()
        if not answer:
            self.transport.abort()
            return
        self.transport.write(answer)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_FAIL_TIMEOUT, self.transport.abort)

    def read_slice(self) -> bool:
        """Parses the next slice; returns whether more can be parsed now."""
        if not self.head.seen:
            self._waits_in = None
            self._reading.resume()
            return False
        if self._can_parse:
            piece = bytes(self._pending[:_SLICE])
            del self._pending[:_SLICE]
            self._unparsed += len(piece)
            began = time.thread_time()
            super().data_received(piece)
            self.spend_work(time.thread_time() - began)
            if self.transport.get_write_buffer_size() > _MAX_UNSENT:
                self.transport.abort()
        if not self._can_parse:
            self._waits_in = None
            self._balance()
        elif self._waits_in not in (None, self.standing.turns):
            self._waits_in = None
            self._take_turns()  # among others: it is calm no more, or again
            return False
        return self._can_parse

    def process_event(self, event: Event) -> None:
        super().process_event(event)
        if not isinstance(event, Frame):
            self._unparsed -= self.head.size
            return
        # Of a frame with a needlessly long head something stays, and the parser in use.
        self._unparsed -= small_frames.wire_size(len(event.data))
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
        if self.standing.is_new:
            self.on_unused()
        self._pending.clear()
        self._reading.stop()
        super().connection_lost(exc)
        if self._serving is not None:
            self._serving.add_done_callback(self._release_soon)

    def _release_soon(self, _: object = None) -> None:
        self.loop.call_later(_RELEASE, self._release)

    def _release(self) -> None:
        if self._waits_in is not None:
            self._release_soon()
        else:
            release(self.protocol, self)

    # To the session.

    async def recv(self, decode: bool | None = None) -> Any:
        """Receives a message; see ServerConnection."""
        data = await super().recv(decode)
        whole = data if isinstance(data, bytes) or data.isascii() else data.encode()
        self._unread -= len(whole)
        self._balance()
        return data

    async def send(self, message: Any, *, text: bool | None = None) -> None:
        """Sends a message; see ServerConnection. Whole messages take a short cut."""
        if type(message) not in (str, bytes) or text is not None or not self.may_write:
            await super().send(message, text=text)
        else:
            self.write(message)

    @property
    def may_write(self) -> bool:
        """Whether a message can be written now; see DirectWriter."""
        is_open = self.protocol.state is State.OPEN and not self.transport.is_closing()
        return is_open and not self.paused and self.budget.calm

    def write(self, data: str | bytes) -> None:
        """Writes a message without waiting; see DirectWriter."""
        try:
            self.transport.write(small_frames.write_whole(data))
        except Exception:  # the connection is over, and its reader finds that out
            self.transport.abort()

    @property
    def _held(self) -> bool:
        """Whether the session must take messages before more are parsed."""
        return self.recv_messages.paused or self._unread > _MAX_UNREAD

    @property
    def _can_parse(self) -> bool:
        return bool(self._pending) and not self._held and not self.transport.is_closing()

    def _take_turns(self) -> None:
        if self._waits_in is None:
            self._waits_in = self.standing.turns
            self._waits_in.add(self)

    def _balance(self) -> None:
        """Parses on, or reads on, as far as the session takes messages."""
        if self.exceeded.done():
            return
        if self._can_parse:
            self._take_turns()
        if self._pending or self._held:
            self._reading.pause()
        else:
            self._reading.resume()

    def _ping(self) -> None:
        if self.state is State.OPEN:
            self.protocol.send_ping(b"")
            self.send_data()
