"""One client's session. Its connection may be lost and another take its place: see visit."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.frame_clock import FrameClock
from xyt_stream.protocol.machine import Codes, Pcm, ServerMachine
from xyt_stream.protocol.messages import Ack, Cleared, End, Hello, Ready, Resume
from xyt_stream.protocol.outbox import WINDOW, Outbox, Receipts
from xyt_stream.protocol.roles import ROLES
from xyt_stream.server.conversation import Conversation
from xyt_stream.server.intake import AnswerIntake, CodesIntake, SoundIntake, Spoken
from xyt_stream.server.limits import Pace
from xyt_stream.server.outlet import Outlet
from xyt_stream.server.voice import Voice

if TYPE_CHECKING:
    from xyt_stream.server.service import Service

_log = logging.getLogger(__name__)

_INBOX = 4  # messages that were read and wait for room in the engine, if nothing is acknowledged
_LIVE_WINDOW = 192 << 10  # bytes that who hears others may be behind before it loses the oldest
_MOST_UNTAKEN = 2 * WINDOW  # bytes that wait for it, if all is

Intake: TypeAlias = SoundIntake | CodesIntake | AnswerIntake


class Session:
    """What a client has in the server, from its hello to its end.

    Args:
        service: whose session it is.
        hello: the client's.
        address: where it comes from.

    Attributes:
        id: for logs and questions.
        key: takes the session up again.
        began: seconds of the monotonic clock.
        machine, outbox, outlet: the state of its conversation.
        over: set when everything of it is given back.
        verdict: why it must end, once it must.
        dismissed: done when the visit of this session that goes on must end; None without one.
        leaving: what follows in the place of `end`, when the server goes away.

    Raises:
        ProtocolError: busy, room_has_mic, room_full, too_many and others.
    """

    def __init__(self, service: Service, hello: Hello, address: str) -> None:
        self.id = secrets.token_hex(4)
        self.key = secrets.token_urlsafe(24)
        self.began = self._heard_at = time.monotonic()
        self.resumable = hello.resumable and service.limits.resume_time > 0
        self.machine = ServerMachine()
        # Whoever hears what others say: they go on, whether it keeps up or not.
        self._live = hello.role in ("speaker", "model")
        self.outbox = Outbox((_LIVE_WINDOW if self._live else WINDOW) if self.resumable else 0)
        self._receipts = Receipts()
        self.over = asyncio.Event()
        self.verdict: asyncio.Future[ProtocolError] = asyncio.get_running_loop().create_future()
        self.leaving: ProtocolError | None = None
        self.dismissed: asyncio.Future[None] | None = None  # ends the visit that goes on
        self._visit_over = asyncio.Event()
        self._service = service
        self._hello = hello
        self._role = ROLES[hello.role]
        # What was read and not taken in yet: with its bytes, and the last sequence number by then.
        self._inbox: collections.deque[tuple[Pcm | Codes | End, int, int | None]]
        self._inbox = collections.deque()
        self._untaken = 0  # bytes
        self._taken: int | None = None  # sequence number of what was taken in last
        self._changed = asyncio.Event()
        self._parked_at: float | None = None
        self._pace = Pace(service.limits.ahead)
        self._conversation: Conversation | None = None  # a user's

        self._ready = self._answer()
        # Of a session that hears itself; a frame's sound comes after its codes.
        self._frames = FrameClock(self._ready.frame_samples)
        self._answers = Pcm if "pcm" in self._ready.receive else Codes
        self.outlet = Outlet(
            self._ready.receive,
            self._ready.receive_rate,
            service.model.output_rate,
            lossy=self._live,
            queue=service.limits.queue,
            on_drop=service.metrics.dropped.inc,
        )
        with ExitStack() as stack:
            stack.enter_context(service.gate.session(address))
            self._intake = stack.enter_context(self._take_in())
            self._held = stack.pop_all()
        self._consumer = asyncio.create_task(self._consume())

    def ready(self) -> str:
        """Answers a hello; the session is open."""
        resume = None
        if self.resumable:
            machine = self.machine
            resume = Resume(token=self.key, received=machine.received, ended=machine.receiving_over)
        return self.machine.ready(msgspec.structs.replace(self._ready, resume=resume))

    def rewind(self, received: int | None) -> None:
        """The client has all media up to this sequence number, and nothing beyond.

        Raises:
            ProtocolError: cannot_resume: what follows is no longer kept.
        """
        most = -1 if self.machine.sent is None else self.machine.sent
        least = most if self.outbox.first is None else self.outbox.first - 1
        if not least <= (-1 if received is None else received) <= most:
            raise protocol_error("cannot_resume")
        self.outbox.acknowledged(received)

    @property
    def parked(self) -> bool:
        """Whether it waits for its client."""
        return self._parked_at is not None

    @property
    def queued(self) -> int:
        """Media messages that wait for the client's connection."""
        return self.outlet.queued

    @contextmanager
    def visit(self) -> Iterator[asyncio.Future[None]]:
        """A connection serves the session, until what this gives is done."""
        self._parked_at = None
        self._heard_at = time.monotonic()
        self.dismissed = dismissed = asyncio.get_running_loop().create_future()
        try:
            yield dismissed
        finally:
            self.dismissed = None
            self._visit_over.set()

    async def dismiss(self) -> None:
        """Ends the visit that goes on, if one does: a newer connection has come."""
        while self.dismissed is not None:
            if not self.dismissed.done():
                self.dismissed.set_result(None)
            self._visit_over.clear()
            await self._visit_over.wait()

    def lost(self) -> None:
        """The connection was lost: the client has some time to come back, if it can."""
        if self.resumable and not self.verdict.done():
            self._parked_at = time.monotonic()
        else:
            self.close("lost")

    def heard(self) -> None:
        """The client has said something."""
        self._heard_at = time.monotonic()

    async def room(self) -> None:
        """Waits until the client may be read on."""
        while not self.resumable and len(self._inbox) >= _INBOX:
            await self._change()

    def receive(self, message: Pcm | Codes | End, size: int = 0) -> None:
        """Media of so many bytes, or their end; taken in even if the connection is lost now.

        Raises:
            ProtocolError: not_allowed: it does not wait for acknowledgements.
        """
        if self.leaving is not None:
            return
        if self._untaken > _MOST_UNTAKEN:
            raise protocol_error("not_allowed", "Too much was sent without an acknowledgement.")
        if isinstance(message, Pcm) and self._role.in_room == "no":
            # What waits behind something else waits for its turn, not for the server.
            self._frames.fill(len(message.samples), timed=not self._inbox)
        self._untaken += size
        self._inbox.append((message, size, self.machine.received))
        self._changed.set()

    def wrote(self, message: Pcm | Codes) -> None:
        """The client was sent this."""
        if isinstance(message, self._answers):
            taken = self._frames.done(message.frame)
            if taken is not None:
                self._service.metrics.answered(taken)

    def clear(self) -> None:
        """What the model has said and the user has not heard is to be dropped."""
        if isinstance(self._intake, AnswerIntake):
            dropped = 0
            for index, (message, size, seq) in enumerate(self._inbox):
                if isinstance(message, Codes):
                    dropped += message.codes.shape[1]
                    void = dataclasses.replace(message, codes=message.codes[:, :0])
                    self._inbox[index] = (void, size, seq)
            self._intake.clear(dropped)
        elif self._conversation is not None:
            self._conversation.clear()

    def cleared(self, message: Cleared) -> None:
        """The user has dropped what it had not played."""
        if self._conversation is not None:
            self._conversation.unheard(self.outlet.unheard(message.unplayed or 0))

    async def acknowledgement(self) -> Ack:
        """What to tell the client that was taken in, when it is time for that."""
        while not self._receipts.due or self._taken is None:
            await self._change()
        self._receipts.said()
        return Ack(received=self._taken)

    def check(self, now: float) -> None:
        """Ends the session if it has gone on for too long."""
        limits = self._service.limits
        if self._parked_at is not None:
            if now - self._parked_at > limits.resume_time:
                self.close("not resumed")
        elif limits.session_time and now - self.began > limits.session_time:
            self.cut(protocol_error("time_over"))
        elif self._speaks and limits.idle_time and now - self._heard_at > limits.idle_time:
            self.cut(protocol_error("idle"))

    @property
    def _speaks(self) -> bool:
        """Whether the client is one who speaks, and has more to say."""
        return self._role.sends is not None and not self._live and not self.machine.receiving_over

    def leave(self, error: ProtocolError) -> None:
        """The server goes away: the client is sent what is left, and then `error`."""
        if self.parked:
            self.close("going_away")
            return
        if not self.machine.receiving_over:
            self.receive(End())
        self.leaving = error

    def cut(self, error: ProtocolError) -> None:
        """Ends the session, by its connection if it has one."""
        if self.parked:
            self.close(error.name)
        elif not self.verdict.done():
            self.verdict.set_result(error)

    def close(self, why: str) -> None:
        """Gives everything back."""
        if self.over.is_set():
            return
        self.over.set()
        self._consumer.cancel()
        self._held.close()
        self._service.forget(self, why)

    async def _consume(self) -> None:
        """Takes in what the client sent, as fast as there is room and as it may."""
        try:
            while True:
                while not self._inbox:
                    await self._change()
                message, size, seq = self._inbox[0]
                if isinstance(message, End):
                    if self._intake is None:
                        self.outlet.stop()
                    else:
                        await self._intake.finish()
                    return
                if self._intake is not None:
                    if not isinstance(self._intake, AnswerIntake):  # that one goes by its user
                        await self._pace.spend(self._seconds(message))
                    await self.outlet.room()
                    await self._intake.take(message)
                self._inbox.popleft()
                self._untaken -= size
                self._taken = seq
                self._receipts.took(size)
                self._changed.set()
        except Exception:
            _log.exception("a session failed")
            self.cut(protocol_error("internal"))

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _seconds(self, media: Pcm | Codes) -> float:
        if isinstance(media, Pcm):
            return len(media.samples) / self._ready.send_rate
        return int(media.codes.shape[1]) * FRAME_SECONDS

    def _answer(self) -> Ready:
        hello, role, model = self._hello, self._role, self._service.model
        return Ready(
            session=self.id,
            role=role.name,
            room=hello.room,
            send=role.sends,
            receive=role.default_receive if hello.receive is None else hello.receive,
            send_rate=hello.send_rate or model.input_rate,
            receive_rate=hello.receive_rate or model.output_rate,
            frame_ms=FRAME_SECONDS * 1e3,
            delay_ms=self._service.delay,
            model=model,
        )

    @contextmanager
    def _take_in(self) -> Iterator[Intake | None]:
        """What takes in what the client sends; None for who only hears."""
        ready, engine, rooms = self._ready, self._service.engine, self._service.rooms
        codec = engine.codec

        def sound(voice: Spoken) -> SoundIntake:
            return SoundIntake(
                voice,
                ready.send_rate,
                codec.input_rate,
                codec.frame_samples_in,
                engine.lead_samples,
            )

        if ready.role == "speaker":
            assert ready.room is not None
            with rooms.join(ready.room, self.outlet, self._hello.voice):
                yield None
        elif ready.role == "mic":
            assert ready.room is not None
            with rooms.speak(ready.room, self.outlet) as voice:
                yield sound(voice)
        elif ready.role == "user":
            with rooms.converse(ready.room, self.outlet, self.id) as conversation:
                self._conversation = conversation
                conversation.tell_user = self.outlet.tell
                yield sound(conversation)
        elif ready.role == "model":
            assert ready.room is not None
            most = max(1, round(self._service.limits.ahead / FRAME_SECONDS))
            with rooms.answer(ready.room, self.outlet) as room:
                yield AnswerIntake(room, self.outlet, most)
        else:
            voice = Voice(engine, self.outlet, from_codes=ready.send == "codes")
            try:
                if ready.send == "codes":
                    yield CodesIntake(voice, codec.output_rate, codec.frame_samples_out)
                else:
                    yield sound(voice)
            finally:
                voice.close()
