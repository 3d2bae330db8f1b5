"""Implements a client's session of the Realtime protocol: events, and a talk with the model."""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from xyt_stream.audio import FRAME_SECONDS, INPUT_RATE, Samples
from xyt_stream.errors import EventError, ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.realtime.audio_formats import AudioDecoder, decode_base64, seconds_of
from xyt_stream.protocol.realtime.client_events import (
    ClientEvent,
    InputAppend,
    InputClear,
    InputCommit,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    ResponseCancel,
    ResponseCreate,
    SessionUpdate,
    parse_event,
)
from xyt_stream.protocol.realtime.items import NewItem, new_item
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.admission.budget import Charge, free, metered
from xyt_stream.server.admission.limits import Pace
from xyt_stream.server.admission.memory import OBJECT, Account
from xyt_stream.server.duplex.vad import SpeechDetector
from xyt_stream.server.realtime.input_buffer import InputBuffer
from xyt_stream.server.realtime.model_feed import ModelFeed
from xyt_stream.server.realtime.output import OutputSplitter
from xyt_stream.server.realtime.turn_detector import TurnDetector
from xyt_stream.server.sessions.flush import DirectWriter
from xyt_stream.server.sessions.framing import SoundFramer
from xyt_stream.server.sessions.lateness import Lateness
from xyt_stream.server.sessions.resources import Resources

_AT_ONCE = 64  # items that are read without a pause
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
        self._decoder = AudioDecoder(self._events.settings.input, INPUT_RATE)
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
                await self._handle(event)
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

    async def _handle(self, event: ClientEvent) -> None:
        """Carries out a client's event.

        Raises:
            EventError: it cannot be carried out; the session goes on.
        """
        events, buffer = self._events, self._buffer
        if isinstance(event, InputAppend):
            await self._append(event.audio)
        elif isinstance(event, InputCommit):
            if not events.settings.live:
                buffer.append(self._decoder.flush())
            buffer.commit()
        elif isinstance(event, InputClear):
            self._decoder.flush()
            buffer.clear()
            self._feed.turn_cleared()
        elif isinstance(event, SessionUpdate):
            events.update(event)
            buffer.settings_changed()
            if events.settings.input != self._decoder.format:
                self._decoder = AudioDecoder(events.settings.input, INPUT_RATE)
        elif isinstance(event, ItemCreate):
            new = new_item(event.item)
            events.check_new_item(new.id, event.previous_item_id)
            samples = await self._sound_of(new)
            events.add_item(new, event.previous_item_id)
            self._add_turn(samples)
        elif isinstance(event, ItemRetrieve):
            events.retrieve(event.item_id)
        elif isinstance(event, ItemDelete):
            events.delete(event.item_id)
        elif isinstance(event, ItemTruncate):
            events.truncate(event)
        elif isinstance(event, ResponseCreate):
            await self._respond(event)
        elif isinstance(event, ResponseCancel):
            events.responses.cancel(event.response_id)

    async def _append(self, audio: str) -> None:
        """Decodes sound of the microphone from base64 into the buffer."""
        self._buffer.check_space(seconds_of(audio, self._decoder.format))
        for piece in await _decode(audio, "audio", self._decoder):
            self._buffer.append(self._decoder.decode(piece))
            await asyncio.sleep(0)  # lets other sessions run during a long chunk

    async def _sound_of(self, new: NewItem) -> Samples:
        """All of the user's sound in an item, float32 [n] at 16 kHz."""
        if not new.audio:
            return np.zeros(0, np.float32)
        form = self._events.settings.input
        self._buffer.check_space(sum(seconds_of(audio, form) for audio in new.audio))
        decoder, sound = AudioDecoder(form, INPUT_RATE), [np.zeros(0, np.float32)]
        for audio in new.audio:
            for piece in await _decode(audio, "item.content.audio", decoder):
                sound.append(decoder.decode(piece))
                await asyncio.sleep(0)
        return np.concatenate([*sound, decoder.flush()])

    async def _respond(self, event: ResponseCreate) -> None:
        """Begins a response, after the sound of the items in its input."""
        given = None if event.response is None else event.response.input
        items = []
        for index, item in enumerate(given or []):
            if not self._events.is_reference(item, index):
                items.append(new_item(item, f"response.input[{index}]"))
            if index % _AT_ONCE == 0:
                await asyncio.sleep(0)  # lets other sessions run during a long list
        sounds = [await self._sound_of(item) for item in items]
        self._events.create(event)
        for sound in sounds:
            self._add_turn(sound)
        self._feed.answer()

    def _add_turn(self, samples: Samples) -> None:
        if len(samples):
            self._buffer.add_turn(samples)

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


async def _decode(audio: str, param: str, decoder: AudioDecoder) -> list[bytes]:
    """Decodes base64 into pieces, and checks all of them before any is used.

    Raises:
        EventError: it is no base64, or holds no whole number of samples.
    """
    pieces = []
    for piece in decode_base64(audio, param):
        pieces.append(piece)
        await asyncio.sleep(0)  # lets other sessions run during a long chunk
    decoder.check(sum(map(len, pieces)))
    return pieces
