"""What all sessions of a server share, and who looks after them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import msgspec
from websockets.asyncio.server import ServerConnection

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import SUBPROTOCOL, Delay, Hello, Model, Resume
from xyt_stream.server import log
from xyt_stream.server.admission.access import Access
from xyt_stream.server.admission.limits import Gate, Limits
from xyt_stream.server.admission.proxies import Proxies
from xyt_stream.server.duplex.conversation import silence
from xyt_stream.server.duplex.models import Factory
from xyt_stream.server.duplex.runner import Host
from xyt_stream.server.duplex.vad import Detectors
from xyt_stream.server.engine.engine import BUSY_RETRY, Engine
from xyt_stream.server.metrics import Metrics
from xyt_stream.server.sessions.rooms import Rooms
from xyt_stream.server.sessions.session import Session
from xyt_stream.streaming.codec import Codec

FAREWELL = 2.0  # seconds that a client who must go gets to read why
_SHED_AFTER = 5  # seconds of overload before the newest session has to go
_ROUND = 1.0  # seconds between looks after everybody


class Guest(Protocol):
    """A session of any protocol.

    Attributes:
        key, id, began, over: as Session has them.
    """

    key: str
    id: str
    began: float
    over: asyncio.Event

    @property
    def parked(self) -> bool: ...
    @property
    def queued(self) -> int: ...
    def check(self, now: float) -> None: ...
    def leave(self, error: ProtocolError) -> None: ...
    def cut(self, error: ProtocolError) -> None: ...


_AnyGuest = TypeVar("_AnyGuest", bound=Guest)


class Service:
    """The sessions of one server.

    Args:
        codec: the loaded model.
        max_sessions: streams at once.
        lookahead: frames of the future that a bidirectional model waits for.
        proxies: that are believed whom they forward.
        duplex: makes speech models that users of this process talk with, see duplex/models.py.

    Raises:
        ServeError: that makes none.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        max_sessions: int,
        lookahead: int,
        access: Access,
        limits: Limits,
        proxies: Proxies,
        duplex: Factory | None = None,
    ) -> None:
        self.metrics = Metrics()
        self.engine = Engine(codec, max_sessions, lookahead=lookahead, on_step=self.metrics.stepped)
        self.access = access
        self.limits = limits
        self.proxies = proxies
        # Each conversation holds two slots.
        talks = max(1, max_sessions // 2)
        self.host = (
            None
            if duplex is None
            else Host(
                duplex,
                codec,
                talks,
                on_step=self.metrics.duplex_step.observe,
                on_failure=self.metrics.duplex_failures.inc,
            )
        )
        self.detectors = Detectors()
        self.rooms = Rooms(self.engine, limits, silence(codec), self.host)
        self.gate = Gate(limits.address_sessions, limits.address_joins)
        self._sessions: dict[str, Guest] = {}  # by the key that resumes them, oldest first
        self._leaving = False
        self._partings = 0  # clients who are being told why they must go
        self._parted = asyncio.Event()
        self._overloaded = 0  # rounds in a row
        encode, decode = self.engine.delays
        self.delay = Delay(encode=encode * 1e3, decode=decode * 1e3)
        self.model = Model(
            name=codec.name,
            hash=codec.hash,
            codebooks=codec.num_codebooks,
            codebook_size=codec.codebook_size,
            input_rate=codec.input_rate,
            output_rate=codec.output_rate,
            causal=codec.causal,
        )
        self.metrics.gauge("xyt_slots", "Streams that fit", lambda: self.engine.slots)
        self.metrics.gauge("xyt_slots_free", "Slots nobody has", lambda: self.engine.free_slots)
        self.metrics.gauge(
            "xyt_queued_messages",
            "Media that wait for clients' connections",
            lambda: sum(session.queued for session in self._sessions.values()),
        )

    def start(self) -> None:
        """Starts the threads; what they make comes to the running event loop."""
        self.engine.start()
        if self.host is not None:
            self.host.start()

    def stop(self) -> None:
        """Ends them after the step they are in."""
        if self.host is not None:
            self.host.stop()
        self.engine.stop()

    def begin(self, hello: Hello, address: str) -> Session:
        """A new session of xyt.v1.

        Raises:
            ProtocolError: busy, room_has_mic and others.
        """
        return self.admit(lambda: Session(self, hello, address), hello.role)

    def admit(self, make: Callable[[], _AnyGuest], role: str) -> _AnyGuest:
        """A new session, made only if there is room for anybody.

        Raises:
            ProtocolError: busy, and what `make` raises.
        """
        if reason := self.why_not_ready():
            raise protocol_error("busy", f"{reason}: try again later.", retry_after=BUSY_RETRY)
        session = make()
        self._sessions[session.key] = session
        self.metrics.sessions.inc()
        self.metrics.joined.labels(role).inc()
        log.event("session begun", session=session.id, role=role)
        return session

    def resume(self, resume: Resume) -> Session:
        """A session that lost its connection, or is about to notice.

        Raises:
            ProtocolError: cannot_resume.
        """
        session = self._sessions.get(resume.token)
        if not isinstance(session, Session) or not session.resumable:
            raise protocol_error("cannot_resume")
        session.rewind(resume.received)
        self.metrics.resumed.inc()
        log.event("session resumed", session=session.id)
        return session

    def forget(self, session: Guest, why: str) -> None:
        """A session is over."""
        if self._sessions.pop(session.key, None) is not None:
            self.metrics.sessions.dec()
            seconds = round(time.monotonic() - session.began, 3)
            log.event("session over", session=session.id, why=why, seconds=seconds)

    def refused(self, error: ProtocolError, session: str | None) -> None:
        """Somebody was sent away."""
        self.metrics.errors.labels(error.name).inc()
        log.event("refused", session=session, error=error.name)

    @contextmanager
    def parting(self) -> Iterator[None]:
        """Somebody is told why they must go, which the server's end waits for."""
        self._partings += 1
        try:
            yield
        finally:
            self._partings -= 1
            self._parted.set()

    def address(self, socket: ServerConnection) -> str:
        """Where a connection comes from, as far as its proxies are believed."""
        assert socket.request is not None
        peer = str(socket.remote_address[0]) if socket.remote_address else ""
        return self.proxies.client(peer, socket.request.headers)

    def why_not_ready(self) -> str | None:
        """Why nobody new is let in; None if they are."""
        if self._leaving:
            return "The server goes away"
        if self._overloaded:
            return "The server is overloaded"
        if not self.engine.alive:
            return "The engine has stopped"
        return None

    def info(self) -> dict[str, Any]:
        """What this server is, for whoever asks."""
        return {
            "protocol": SUBPROTOCOL,
            "model": msgspec.to_builtins(self.model),
            "delay_ms": msgspec.to_builtins(self.delay),
            "frame_ms": FRAME_SECONDS * 1e3,
            "slots": self.engine.slots,
            "duplex": self.host is not None,
            "slots_free": self.engine.free_slots,
            "answer_ms": self.metrics.answer_ms(),
            "token_needed": not self.access.is_open,
            "message_bytes": self.limits.message_bytes,
        }

    async def look_after(self) -> None:
        """Ends what has gone on for too long, and sheds load. Never returns."""
        while True:
            await asyncio.sleep(_ROUND)
            self.look()

    def look(self) -> None:
        """One round of it."""
        now = time.monotonic()
        for session in list(self._sessions.values()):
            session.check(now)
            self.metrics.queue.observe(session.queued)
        self.metrics.parked.set(sum(session.parked for session in self._sessions.values()))
        overloaded = 0 < self.limits.load < self.engine.timings.load
        self._overloaded = self._overloaded + 1 if overloaded else 0
        if self._overloaded >= _SHED_AFTER and self._sessions:
            newest = list(self._sessions.values())[-1]
            newest.cut(protocol_error("busy", "The server is overloaded.", retry_after=BUSY_RETRY))
            self._overloaded = 1
            log.event("shed", session=newest.id, load=round(self.engine.timings.load, 2))

    async def drain(self) -> None:
        """Sends everybody what is left of their session, then away, within the time for it."""
        self._leaving = True
        sessions = list(self._sessions.values())
        error = protocol_error("going_away", retry_after=BUSY_RETRY)
        for session in sessions:
            session.leave(error)
        over = asyncio.gather(*(session.over.wait() for session in sessions))
        await _within(self.limits.drain_time, asyncio.shield(over))
        for session in sessions:
            session.cut(error)
        await _within(FAREWELL, over)
        await _within(FAREWELL, self._all_parted())

    async def _all_parted(self) -> None:
        while self._partings:
            self._parted.clear()
            await self._parted.wait()


async def _within(seconds: float, done: Awaitable[Any]) -> None:
    """Waits for it, no longer than that."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(done, seconds)
