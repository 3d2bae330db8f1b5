"""One client's session of the Realtime protocol: its events and its conversation with the model."""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from xyt_stream.audio import FRAME_SECONDS, INPUT_RATE, Samples
from xyt_stream.errors import EventError, ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.realtime.audio_formats import AudioDecoder
from xyt_stream.protocol.realtime.client_events import (
    ClientEvent,
    InputAppend,
    InputClear,
    InputCommit,
    ItemCreate,
    ItemTruncate,
    NewItem,
    ResponseCancel,
    ResponseCreate,
    SessionUpdate,
    parse_event,
)
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.admission.limits import Pace
from xyt_stream.server.duplex.vad import SpeechDetector
from xyt_stream.server.realtime.input_buffer import InputBuffer
from xyt_stream.server.realtime.output import OutputSplitter
from xyt_stream.server.realtime.turn_detector import TurnDetector
from xyt_stream.server.sessions.framing import SoundFramer
from xyt_stream.server.sessions.resources import Resources

_log = logging.getLogger(__name__)


class RealtimeSession:
    """A client's state in the server; see AnySession for the interface. It cannot be resumed.

    Args:
        resources: of the server.
        address: of the client.
        detector: goes to the server's pool at the session's end.

    Raises:
        ProtocolError: not_allowed: this server has no model; busy, too_many.
    """

    suspended = False

    def __init__(self, resources: Resources, address: str, detector: SpeechDetector) -> None:
        self.began = self._received_at = time.monotonic()
        self.closed = asyncio.Event()
        self.failure: asyncio.Future[ProtocolError] = asyncio.get_running_loop().create_future()
        self._resources = resources
        self._outgoing: collections.deque[str] = collections.deque()
        self._changed = Signal()
        self._pace = Pace(resources.limits.ahead)
        codec, engine = resources.engine.codec, resources.engine
        self._events = ServerEvents(
            model=resources.runner.name if resources.runner else "",
            rate=codec.output_rate,
            send=self._send,
            cancel_output=self._cancel_output,
            played=lambda: self._conversation.played,
        )
        self.id = self.key = self._events.id
        self._input = InputBuffer(self._events, TurnDetector(detector), self._feed)
        self._output = OutputSplitter(
            codec.frame_samples_out,
            on_speech=self._events.on_speech,
            on_silence=self._events.on_silence,
            on_failure=lambda: self.abort(protocol_error("internal", "The model has failed.")),
        )
        self._decoder = AudioDecoder(self._events.settings.input, INPUT_RATE)
        with ExitStack() as stack:
            stack.enter_context(resources.gate.session(address))
            self._conversation = stack.enter_context(
                resources.rooms.add_user(None, self._output, self.id)
            )
            stack.callback(resources.detectors.give_back, detector)
            self._held = stack.pop_all()
        self._framer = SoundFramer(
            self._conversation,
            codec.input_rate,
            codec.input_rate,
            codec.frame_samples_in,
            engine.lead_samples,
        )
        self._feeding = asyncio.create_task(self._run_input())
        self._events.open()

    @property
    def queued(self) -> int:
        """Number of events queued for the client."""
        return len(self._outgoing)

    @contextmanager
    def attach(self) -> Iterator[asyncio.Future[None]]:
        """Serves the only connection that the session has; see AnySession."""
        yield asyncio.get_running_loop().create_future()

    async def receive(self, data: str | bytes) -> None:
        """Takes an event of the client's, and answers a wrong one with `error`; see AnySession."""
        self._received_at = time.monotonic()
        event, event_id, error = parse_event(data)
        if event is not None:
            try:
                await self._handle(event)
            except EventError as refused:
                error = refused
        if error is not None:
            self._events.refuse(error, event_id)
        await self._drain()
        await self._input.drain()

    async def next(self) -> str:
        """Waits for the next event for the client; see AnySession."""
        await self._changed.wait_for(lambda: bool(self._outgoing))
        event = self._outgoing.popleft()
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
            self._feeding.cancel()
            self._held.close()
            self._resources.on_closed(self, reason)

    async def _handle(self, event: ClientEvent) -> None:
        """Carries out a client's event.

        Raises:
            EventError: it cannot be carried out; the session goes on.
        """
        events, buffer = self._events, self._input
        if isinstance(event, InputAppend):
            await buffer.append(self._decoder.decode(event.audio))
        elif isinstance(event, InputCommit):
            if not events.settings.live:
                await buffer.append(self._decoder.flush())
            buffer.commit(lambda error: events.refuse(error, event.event_id))
        elif isinstance(event, InputClear):
            self._decoder.flush()
            buffer.clear()
        elif isinstance(event, SessionUpdate):
            events.update(event)
            if events.settings.input != self._decoder.format:
                self._decoder = AudioDecoder(events.settings.input, INPUT_RATE)
        elif isinstance(event, ItemCreate):
            if not events.can_append_after(event.previous_item_id):
                raise EventError(
                    "not_supported", "Items come after all others.", "previous_item_id"
                )
            buffer.add_item(self._sound_of(event.item), event.item.id)
        elif isinstance(event, ItemTruncate):
            events.truncate(event)
        elif isinstance(event, ResponseCreate):
            events.create(event)
            buffer.request_response()
        elif isinstance(event, ResponseCancel):
            events.cancel(event)

    def _sound_of(self, item: NewItem) -> Samples:
        """All sound of an item, float32 [n] at 16 kHz.

        Raises:
            EventError: the item is not the user's sound.
        """
        sound = b"".join(part.audio or b"" for part in item.content)
        kinds = {part.type for part in item.content}
        if (item.type, item.role) != ("message", "user") or kinds != {"input_audio"} or not sound:
            raise EventError(
                "not_supported",
                "This model hears only sound: give a user's message of input_audio.",
                "item.content" if item.role == "user" else "item.type",
            )
        decoder = AudioDecoder(self._events.settings.input, INPUT_RATE)
        return np.concatenate([decoder.decode(sound), decoder.flush()])

    async def _run_input(self) -> None:
        try:
            await self._input.run()
        except Exception:
            _log.exception("a session failed")
            self.abort(protocol_error("internal"))

    async def _feed(self, frame: Samples) -> None:
        """Gives the model a frame, as fast as the limits and the client's reading allow."""
        await self._drain()
        await self._pace.spend(FRAME_SECONDS)
        await self._framer.push(frame)

    async def _drain(self) -> None:
        """Waits until the client has read enough to be sent more."""
        limit = self._resources.limits.queue
        await self._changed.wait_for(lambda: len(self._outgoing) < limit)

    def _cancel_output(self, played: int | None) -> None:
        self._conversation.interrupt(played=played)
        if played is None:
            self._input.cancel_response()

    def _send(self, event: str) -> None:
        self._outgoing.append(event)
        self._input.update()
        self._changed.notify()
