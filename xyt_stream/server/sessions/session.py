"""One client's session. Its connection may be lost and another take its place: see visit."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.frame_clock import FrameClock
from xyt_stream.protocol.machine import Codes, Pcm, ServerMachine
from xyt_stream.protocol.messages import Cleared, End, Hello, Ready, Resume
from xyt_stream.protocol.replay_buffer import MAX_UNACKNOWLEDGED, ReplayBuffer
from xyt_stream.protocol.roles import ROLES
from xyt_stream.server.sessions.framing import AnswerIntake
from xyt_stream.server.sessions.receive_queue import Inbox
from xyt_stream.server.sessions.roles import part
from xyt_stream.server.sessions.send_queue import Outlet

if TYPE_CHECKING:
    from xyt_stream.server.service import Service

_log = logging.getLogger(__name__)

_LIVE_WINDOW = 192 << 10  # bytes that who hears others may be behind before it loses the oldest


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
        machine, inbox, outbox, outlet: the state of its conversation.
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
        limit = _LIVE_WINDOW if self._live else MAX_UNACKNOWLEDGED
        self.outbox = ReplayBuffer(limit if self.resumable else 0)
        self.over = asyncio.Event()
        self.verdict: asyncio.Future[ProtocolError] = asyncio.get_running_loop().create_future()
        self.leaving: ProtocolError | None = None
        self.dismissed: asyncio.Future[None] | None = None  # ends the visit that goes on
        self._visit_over = asyncio.Event()
        self._service = service
        self._role = ROLES[hello.role]
        self._parked_at: float | None = None

        self._ready = self._answer(hello)
        self._hears_itself = self._role.in_room == "no" and bool(self._ready.receive)
        # Of such a session; a frame's sound comes after its codes.
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
            self._part = stack.enter_context(part(service, self._ready, hello.voice, self.outlet))
            self._held = stack.pop_all()
        self.inbox = Inbox(
            self._part.intake,
            self.outlet,
            rate=self._ready.send_rate,
            ahead=service.limits.ahead,
            acknowledges=self.resumable,
        )
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
        self.outbox.acknowledge(received)

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

    def receive(self, message: Pcm | Codes | End, size: int = 0) -> None:
        """Media of so many bytes, or their end; taken in even if the connection is lost now.

        Raises:
            ProtocolError: not_allowed: it does not wait for acknowledgements.
        """
        if self.leaving is not None:
            return
        if isinstance(message, Pcm) and self._hears_itself:
            # What waits behind something else waits for its turn, not for the server.
            self._frames.fill(len(message.samples), timed=not len(self.inbox))
        self.inbox.put(message, size, self.machine.received)

    def wrote(self, message: Pcm | Codes) -> None:
        """The client was sent this."""
        if isinstance(message, self._answers):
            taken = self._frames.done(message.frame)
            if taken is not None:
                self._service.metrics.answered(taken)

    def clear(self) -> None:
        """What the model has said and the user has not heard is to be dropped."""
        if isinstance(self._part.intake, AnswerIntake):
            self._part.intake.clear(self.inbox.void())
        elif self._part.conversation is not None:
            self._part.conversation.clear()

    def cleared(self, message: Cleared) -> None:
        """The user has dropped what it had not played."""
        if self._part.conversation is not None:
            self._part.conversation.unheard(self.outlet.unheard(message.unplayed or 0))

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
        try:
            await self.inbox.take_in()
        except Exception:
            _log.exception("a session failed")
            self.cut(protocol_error("internal"))

    def _answer(self, hello: Hello) -> Ready:
        role, model = self._role, self._service.model
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
