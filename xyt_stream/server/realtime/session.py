"""One Realtime session: its limits, its conversation with the model, and the client's events."""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

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
from xyt_stream.server.admission.limits import Pace
from xyt_stream.server.duplex.vad import SpeechDetector
from xyt_stream.server.realtime.input_buffer import Ear
from xyt_stream.server.realtime.output import Mouth
from xyt_stream.server.realtime.turn_detector import Turns
from xyt_stream.server.sessions.framing import SoundIntake

if TYPE_CHECKING:
    from xyt_stream.server.service import Service

_log = logging.getLogger(__name__)


class RealtimeSession:
    """What a client has in the server, from its handshake to its end.

    Args:
        service: whose session it is.
        address: where it comes from.
        detector: of speech, its own while it lasts.

    Attributes:
        id: for logs and questions.
        key: unique.
        began: seconds of the monotonic clock.
        parked: never: these sessions cannot be resumed.
        over: set when everything of it is given back.
        verdict: why it must end, once it must.

    Raises:
        ProtocolError: not_allowed, as there is no model here; busy, too_many.
    """

    parked = False

    def __init__(self, service: Service, address: str, detector: SpeechDetector) -> None:
        self.began = self._heard_at = time.monotonic()
        self.over = asyncio.Event()
        self.verdict: asyncio.Future[ProtocolError] = asyncio.get_running_loop().create_future()
        self._service = service
        self._out: collections.deque[str] = collections.deque()
        self._changed = asyncio.Event()
        self._pace = Pace(service.limits.ahead)
        codec, engine = service.engine.codec, service.engine
        self._dialogue = ServerEvents(
            model=service.host.name if service.host else "",
            rate=codec.output_rate,
            send=self._send,
            cancel_output=self._hush,
            played=lambda: self._conversation.played,
        )
        self.id = self.key = self._dialogue.id
        self._ear = Ear(self._dialogue, Turns(detector), self._hear)
        self._mouth = Mouth(
            codec.frame_samples_out,
            speaks=self._dialogue.on_speech,
            silent=self._dialogue.on_silence,
            failed=lambda: self.cut(protocol_error("internal", "The model has failed.")),
        )
        self._reader = AudioDecoder(self._dialogue.settings.input, INPUT_RATE)
        with ExitStack() as stack:
            stack.enter_context(service.gate.session(address))
            self._conversation = stack.enter_context(
                service.rooms.converse(None, self._mouth, self.id)
            )
            self._held = stack.pop_all()
        self._intake = SoundIntake(
            self._conversation,
            codec.input_rate,
            codec.input_rate,
            codec.frame_samples_in,
            engine.lead_samples,
        )
        self._feeder = asyncio.create_task(self._feed())
        self._dialogue.open()

    @property
    def queued(self) -> int:
        """Events that wait for the client's connection."""
        return len(self._out)

    async def next(self) -> str:
        """The next event for the client."""
        while not self._out:
            await self._change()
        event = self._out.popleft()
        self._changed.set()
        return event

    async def receive(self, data: str | bytes) -> None:
        """A client's message; the next one may be read when this is done."""
        self._heard_at = time.monotonic()
        event, event_id, error = parse_event(data)
        if event is not None:
            try:
                await self._do(event)
            except EventError as refused:
                error = refused
        if error is not None:
            self._dialogue.refuse(error, event_id)
        await self._room()
        await self._ear.room()

    def check(self, now: float) -> None:
        """Ends the session if it has gone on for too long."""
        limits = self._service.limits
        if limits.session_time and now - self.began > limits.session_time:
            self.cut(protocol_error("time_over"))
        elif limits.idle_time and now - self._heard_at > limits.idle_time:
            self.cut(protocol_error("idle"))

    def leave(self, error: ProtocolError) -> None:
        """The server goes away."""
        self.cut(error)

    def cut(self, error: ProtocolError) -> None:
        """Ends the session, by its connection."""
        if not self.verdict.done():
            self.verdict.set_result(error)

    def part(self, error: ProtocolError) -> list[str]:
        """The session must end: the events that the client is still sent."""
        self._dialogue.fail(error)
        last = list(self._out)
        self._out.clear()
        return last

    def close(self, why: str) -> None:
        """Gives everything back."""
        if not self.over.is_set():
            self.over.set()
            self._feeder.cancel()
            self._held.close()
            self._service.forget(self, why)

    async def _do(self, event: ClientEvent) -> None:
        dialogue, ear = self._dialogue, self._ear
        if isinstance(event, InputAppend):
            await ear.append(self._reader.decode(event.audio))
        elif isinstance(event, InputCommit):
            if not dialogue.settings.live:
                await ear.append(self._reader.flush())
            ear.commit(lambda error: dialogue.refuse(error, event.event_id))
        elif isinstance(event, InputClear):
            self._reader.flush()
            ear.clear()
        elif isinstance(event, SessionUpdate):
            dialogue.update(event)
            if dialogue.settings.input != self._reader.format:
                self._reader = AudioDecoder(dialogue.settings.input, INPUT_RATE)
        elif isinstance(event, ItemCreate):
            if not dialogue.can_append_after(event.previous_item_id):
                raise EventError(
                    "not_supported", "Items come after all others.", "previous_item_id"
                )
            ear.add(self._sound_of(event.item), event.item.id)
        elif isinstance(event, ItemTruncate):
            dialogue.truncate(event)
        elif isinstance(event, ResponseCreate):
            dialogue.create(event)
            ear.answer()
        elif isinstance(event, ResponseCancel):
            dialogue.cancel(event)

    def _sound_of(self, item: NewItem) -> Samples:
        """All that an item says, float32 [n].

        Raises:
            EventError: it is not the user's sound.
        """
        sound = b"".join(part.audio or b"" for part in item.content)
        kinds = {part.type for part in item.content}
        if (item.type, item.role) != ("message", "user") or kinds != {"input_audio"} or not sound:
            raise EventError(
                "not_supported",
                "This model hears only sound: give a user's message of input_audio.",
                "item.content" if item.role == "user" else "item.type",
            )
        reader = AudioDecoder(self._dialogue.settings.input, INPUT_RATE)
        return np.concatenate([reader.decode(sound), reader.flush()])

    async def _feed(self) -> None:
        try:
            await self._ear.run()
        except Exception:
            _log.exception("a session failed")
            self.cut(protocol_error("internal"))

    async def _hear(self, frame: Samples) -> None:
        await self._room()
        await self._pace.spend(FRAME_SECONDS)
        await self._intake.push(frame)

    async def _room(self) -> None:
        """Waits until the client has read enough to be sent more."""
        while len(self._out) >= self._service.limits.queue:
            await self._change()

    def _hush(self, played: int | None) -> None:
        self._conversation.clear(played=played)
        if played is None:
            self._ear.hush()

    def _send(self, event: str) -> None:
        self._out.append(event)
        self._ear.notice()
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
