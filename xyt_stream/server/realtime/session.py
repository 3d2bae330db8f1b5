"""Holds a client's session of the Realtime protocol: a conversation with the model, in events."""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

from xyt_stream.audio import FRAME_SECONDS, Samples
from xyt_stream.errors import EventError, ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.realtime.client_events import parse_event
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.admission.budget import Charge, free, metered
from xyt_stream.server.admission.limits import Pace
from xyt_stream.server.admission.memory import OBJECT, Account
from xyt_stream.server.duplex.vad import SpeechDetector
from xyt_stream.server.realtime.event_handler import EventHandler
from xyt_stream.server.realtime.input_buffer import InputBuffer
from xyt_stream.server.realtime.model_feed import ModelFeed
from xyt_stream.server.realtime.output import OutputSplitter
from xyt_stream.server.realtime.turn_detector import TurnDetector
from xyt_stream.server.sessions.flush import DirectWriter
from xyt_stream.server.sessions.framing import SoundFramer
from xyt_stream.server.sessions.lateness import Lateness
from xyt_stream.server.sessions.resources import Resources

_MAX_BYTES = 1_000_000  # of events queued for the client, from which on it is read no further

_log = logging.getLogger(__name__)


class RealtimeSession:
    """A client's state in the server; see AnySession for the interface. It cannot be resumed.

    Args:
        resources: of the server.
        address: of the client.

    Raises:
        ProtocolError: not_allowed: this server has no model; busy, too_many.
    """

    suspended = False
    sends = True

    def __init__(self, resources: Resources, address: str) -> None:
        self.moving = False
        self.began = self._received_at = time.monotonic()
        self.closed = asyncio.Event()
        self.failure: asyncio.Future[ProtocolError] = asyncio.get_running_loop().create_future()
        self._resources = resources
        self._outgoing: collections.deque[str] = collections.deque()
        self._outgoing_bytes = 0
        self._account = Account(
            resources.memory, lambda: self.abort(protocol_error("too_much_memory"))
        )
        self._changed = Signal()
        self._pace = Pace(resources.limits.ahead)
        self._charge: Charge = free
        codec, engine = resources.engine.codec, resources.engine
        self._events = ServerEvents(
            model=resources.runner.name if resources.runner else "",
            rate=codec.output_rate,
            send=self._send,
            cancel_output=self._cancel_output,
            played=lambda: self._conversation.played,
        )
        self.id = self.key = self._events.id
        self._lateness = Lateness()
        self._buffer = InputBuffer(
            self._events,
            TurnDetector(SpeechDetector()),
            lambda: self._feed.turn_committed(),
            lateness=self._lateness if resources.limits.load else None,
            on_late=resources.metrics.late.inc,
            turns=resources.ahead,
        )
        self._feed = ModelFeed(self._events, self._buffer, self._push)
        self._output = OutputSplitter(
            codec.frame_samples_out,
            on_output=self._events.responses.on_output,
            on_failure=lambda: self.abort(protocol_error("internal", "The model has failed.")),
        )
        self._handler = EventHandler(self._events, self._buffer, self._feed)
        with ExitStack() as stack:
            stack.enter_context(resources.gate.session(address))
            self._conversation = stack.enter_context(
                resources.rooms.add_user(None, self._output, self.id)
            )
            self._held = stack.pop_all()
        self._framer = SoundFramer(
            self._conversation,
            codec.input_rate,
            codec.input_rate,
            codec.frame_samples_in,
            engine.lead_samples,
        )
        self._tasks = [
            asyncio.create_task(self._guard(each)) for each in (self._buffer.listen, self._feed.run)
        ]
        self._events.open()

    @property
    def queued(self) -> int:
        """Number of events queued for the client."""
        return len(self._outgoing)

    @contextmanager
    def attach(
        self, writer: DirectWriter | None = None, charge: Charge = free
    ) -> Iterator[asyncio.Future[None]]:
        """Serves the only connection that the session has; see AnySession."""
        self._charge = charge
        yield asyncio.get_running_loop().create_future()

    def receive_now(self, data: str | bytes) -> bool:
        """Takes nothing: what an event causes may take long; see AnySession."""
        return False

    async def receive(self, data: str | bytes) -> None:
        """Takes an event of the client's, and answers a wrong one with `error`; see AnySession.

        It never waits for sound to be processed, so that later events are handled at once.
        """
        self._received_at = time.monotonic()
        event, event_id, error = parse_event(data)
        if event is not None:
            try:
                await self._handler.handle(event)
            except EventError as refused:
                error = refused
        if error is not None:
            self._events.refuse(error, event_id)
        self._account.set("input", self._buffer.size)
        self._account.set("items", self._events.size)
        await asyncio.sleep(0)  # lets other sessions run during a flood of events
        await self._drain(2 * self._resources.limits.queue)

    async def next(self) -> str:
        """Waits for the next event for the client; see AnySession."""
        await self._changed.wait_for(lambda: bool(self._outgoing))
        event = self._outgoing.popleft()
        self._outgoing_bytes -= len(event)
        self._account.set("output", self._outgoing_bytes + OBJECT * len(self._outgoing))
        self._changed.notify()
        return event

    def check(self, now: float) -> None:
        """Ends the session if a time limit has passed; see AnySession."""
        limits = self._resources.limits
        if limits.session_time and now - self.began > limits.session_time:
            self.abort(protocol_error("time_over"))
        elif limits.idle_time and now - self._received_at > limits.idle_time:
            self.abort(protocol_error("idle"))

    def drain(self, error: ProtocolError) -> None:
        """Ends the session now: a conversation is never done; see AnySession."""
        self.abort(error)

    def abort(self, error: ProtocolError) -> None:
        """Ends the session, by its connection; see AnySession."""
        if not self.failure.done():
            self.failure.set_result(error)

    def fail(self, error: ProtocolError) -> list[str]:
        """Closes the session; returns the events that the client is still sent; see AnySession."""
        self._events.fail(error)
        last = list(self._outgoing)
        self._outgoing.clear()
        self.close(error.name)
        return last

    def disconnected(self) -> None:
        """Closes the session; see AnySession."""
        self.close("disconnected")

    def close(self, reason: str) -> None:
        """Gives everything back; see AnySession. Call it when `receive` and `next` have ended."""
        if not self.closed.is_set():
            self.closed.set()
            for task in self._tasks:
                task.cancel()
            self._held.close()
            self._account.close()
            self._resources.on_closed(self, reason)

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await metered(work(), lambda seconds: self._charge(seconds))
        except Exception:
            _log.exception("a session failed")
            self.abort(protocol_error("internal"))

    async def _push(self, frame: Samples) -> None:
        """Gives the model a frame, as fast as the limits and the client's reading allow."""
        with self._lateness.holding():
            await self._drain(self._resources.limits.queue)
        await self._pace.spend(FRAME_SECONDS)
        await self._framer.push(frame)

    async def _drain(self, events: int) -> None:
        """Waits until the client has read enough: fewer events are left for it."""
        await self._changed.wait_for(
            lambda: len(self._outgoing) < events and self._outgoing_bytes < _MAX_BYTES
        )

    def _cancel_output(self, played: int | None) -> None:
        self._conversation.interrupt(played=played)
        if played is None:
            self._feed.cancel()

    def _send(self, event: str) -> None:
        self._outgoing.append(event)
        self._outgoing_bytes += len(event)
        self._account.set("output", self._outgoing_bytes + OBJECT * len(self._outgoing))
        self._buffer.changed.notify()
        self._changed.notify()
