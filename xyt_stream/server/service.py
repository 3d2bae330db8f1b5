"""Opens, resumes and drains all sessions of a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from websockets.datastructures import Headers

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import Hello, Resume
from xyt_stream.protocol.place import own_name, split_token
from xyt_stream.protocol.signal import Signal
from xyt_stream.server import log
from xyt_stream.server.admission.access import Access
from xyt_stream.server.admission.handshakes import Handshakes
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.admission.proxies import Proxies
from xyt_stream.server.admission.reclaim import Reclaim
from xyt_stream.server.admission.rights import Rights
from xyt_stream.server.build import build_resources
from xyt_stream.server.duplex.models import Factory
from xyt_stream.server.engine.engine import BUSY_RETRY
from xyt_stream.server.readiness import Readiness
from xyt_stream.server.sessions.resources import AnySession
from xyt_stream.server.sessions.session import Session
from xyt_stream.server.shedding import Shedding

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

CLOSE_TIMEOUT = 2.0  # seconds that a client has to read why its connection closes
_CHECK_INTERVAL = 1.0  # seconds
_OTHER_NODE_RETRY = 0.1  # seconds

_S = TypeVar("_S", bound=AnySession)


class Service:
    """The sessions of one server. For the event loop's thread.

    Args:
        codec: the loaded model; None: codes are passed on, and sound is refused.
        max_sessions: number of slots.
        lookahead: frames of future context that a bidirectional model waits for.
        access: authorises clients.
        limits: of everything.
        proxies: whose X-Forwarded-For header is believed.
        duplex: makes speech models that users talk with, see duplex/models.py.
        node: name of this server among those behind a proxy; None: it is alone, and its name is
            that of the machine.

    Attributes:
        node: name of this server.
        resources: the parts that sessions share.
        duplex_name: of the speech model that users talk with; None without one.
        handshakes: connections that have no session yet.
        readiness: whether new clients are admitted.
        rights: of clients that have no session.
        start_drain: begins to empty the server; sets where its sessions go.
        engine, limits, metrics, gate, rooms, runner, relayed, memory: see Resources.

    Raises:
        ServeError: the duplex model cannot be made.
    """

    def __init__(
        self,
        codec: Codec | None,
        *,
        max_sessions: int,
        lookahead: int,
        access: Access,
        limits: Limits,
        proxies: Proxies,
        duplex: Factory | None = None,
        node: str | None = None,
    ) -> None:
        self.node = own_name() if node is None else node
        self.duplex_name = None if duplex is None else getattr(duplex, "__name__", str(duplex))
        self.access = access
        self.resources = build_resources(
            codec,
            max_sessions=max_sessions,
            lookahead=lookahead,
            limits=limits,
            duplex=duplex,
            node=self.node,
            load=lambda: self.load,
            on_closed=self._on_closed,
        )
        self.limits = limits
        self.engine = self.resources.engine
        self.runner = self.resources.runner
        self.rooms = self.resources.rooms
        self.gate = self.resources.gate
        self.relayed = self.resources.relayed
        self.memory = self.resources.memory
        self.metrics = self.resources.metrics
        self._shedding = Shedding(limits.load, self.engine, self.runner)
        self.handshakes = Handshakes(limits.address_handshakes, proxies)
        self._sessions: dict[str, AnySession] = {}  # by key, oldest first
        self._reclaim = Reclaim()
        self.rights = Rights(access, proxies)
        self.readiness = Readiness(
            node,
            engine=self.engine,
            runner=self.runner,
            rooms=self.rooms,
            memory=self.memory,
            shedding=self._shedding,
            has_sessions=lambda: bool(self._sessions),
        )
        self.start_drain: Callable[[], object] = self.begin_drain
        self._closing = 0  # connections that are sent the reason why they close
        self._all_closed = Signal()
        self.metrics.gauge(
            "xyt_queued_messages",
            "Media messages queued for clients",
            lambda: sum(session.queued for session in self._sessions.values()),
        )

    def start(self) -> None:
        """Starts the threads; their results come to the event loop that runs now."""
        self.engine.start()
        if self.runner is not None:
            self.runner.start()

    def stop(self) -> None:
        """Ends the threads after their current steps."""
        if self.runner is not None:
            self.runner.stop()
        self.engine.stop()

    def open(self, hello: Hello, address: str) -> Session:
        """Opens a session of xyt.v1.

        Args:
            hello: the client's.
            address: of the client.

        Raises:
            ProtocolError: busy, room_has_mic and others.
        """
        session = self.admit(lambda: Session(self.resources, hello, address), hello.role)
        session.start()
        return session

    def admit(self, make: Callable[[], _S], role: str) -> _S:
        """Makes a session and adds it, if the server is ready.

        Raises:
            ProtocolError: busy, and all that `make` raises.
        """
        if reason := self.readiness.why_not_ready():
            raise protocol_error("busy", f"{reason}: try again later.", retry_after=BUSY_RETRY)
        session = make()
        self._sessions[session.key] = session
        self.metrics.sessions.inc()
        self.metrics.opened.labels(role).inc()
        log.event("session opened", session=session.id, role=role)
        return session

    def resume(self, resume: Resume, token: str | None, headers: Headers) -> Session:
        """Finds the session of a client that lost its connection.

        Args:
            resume: names the session.
            token, headers: of the client's new connection, see Access.check.

        Raises:
            ProtocolError: cannot_resume; forbidden: the token does not open the session's role.
        """
        _, key = split_token(resume.token)
        session = self.find(key)
        if session is None or not session.resumable:
            raise protocol_error("cannot_resume")
        if session.moving:
            raise protocol_error("busy", "The session moves to another node.", retry_after=0.2)
        self.access.check(session.role, token, headers)
        session.rewind(resume.received)
        self.metrics.resumed.inc()
        log.event("session resumed", session=session.id)
        return session

    def find(self, key: str) -> Session | None:
        """The session of xyt.v1 with this key; None: there is none."""
        session = self._sessions.get(key)
        return session if isinstance(session, Session) else None

    def sessions(self) -> list[Session]:
        """All sessions of xyt.v1, oldest first."""
        return [each for each in self._sessions.values() if isinstance(each, Session)]

    def members(self, room: str) -> list[Session]:
        """The sessions in a room, oldest first."""
        return [session for session in self.sessions() if session.room == room]

    def adopt(self, session: Session) -> None:
        """Adds a session that another node has given up, and has it go on."""
        self._sessions[session.key] = session
        self.metrics.sessions.inc()
        session.start()

    def _on_closed(self, session: AnySession, reason: str) -> None:
        if self._sessions.pop(session.key, None) is not None:
            self._reclaim.session_closed()
            self.metrics.sessions.dec()
            seconds = round(time.monotonic() - session.began, 3)
            log.event("session closed", session=session.id, reason=reason, seconds=seconds)

    def record_error(self, error: ProtocolError, session: str | None) -> None:
        """Counts and logs a connection that ends with an error; `session` is its id, if any."""
        self.metrics.errors.labels(error.name).inc()
        log.event("refused", session=session, error=error.name)

    @contextmanager
    def closing_connection(self) -> Iterator[None]:
        """Has `drain` wait for the block, which sends a client the reason to close."""
        self._closing += 1
        try:
            yield
        finally:
            self._closing -= 1
            self._all_closed.notify()

    @property
    def session_count(self) -> int:
        """Number of sessions, suspended ones included."""
        return len(self._sessions)

    @property
    def load(self) -> float:
        """Share of real time that steps take, see Shedding."""
        return self._shedding.load

    async def run(self) -> None:
        """Checks all sessions once a second until it is cancelled."""
        while True:
            await asyncio.sleep(_CHECK_INTERVAL)
            self.check(time.monotonic())

    def check(self, now: float) -> None:
        """Ends sessions whose time is over, and sheds load; `now` is of the monotonic clock."""
        for session in list(self._sessions.values()):
            session.check(now)
            self.metrics.queue.observe(session.queued)
        self.metrics.suspended.set(sum(each.suspended for each in self._sessions.values()))
        self._shedding.check(list(self._sessions.values()))
        self._reclaim.check()

    def begin_drain(self) -> None:
        """Admits no new clients any more."""
        self.readiness.draining = True

    def drain_staying(self) -> None:
        """Ends the sessions that cannot move; other nodes take new ones. Sends the rest first."""
        error = protocol_error("going_away", retry_after=_OTHER_NODE_RETRY)
        for session in list(self._sessions.values()):
            if not isinstance(session, Session) or not session.may_move:
                session.drain(error)

    async def all_closed(self) -> None:
        """Waits until no session is left."""
        await asyncio.gather(*(each.closed.wait() for each in list(self._sessions.values())))

    async def drain(self) -> None:
        """Ends all sessions: sends what is left within the limit's time, then `going_away`."""
        self.readiness.draining = True
        sessions = list(self._sessions.values())
        error = protocol_error("going_away", retry_after=BUSY_RETRY)
        for session in sessions:
            session.drain(error)
        closed = asyncio.gather(*(session.closed.wait() for session in sessions))
        await _within(self.limits.drain_time, asyncio.shield(closed))
        for session in sessions:
            session.abort(error)
        await _within(CLOSE_TIMEOUT, closed)
        await _within(CLOSE_TIMEOUT, self._all_closed.wait_for(lambda: not self._closing))


async def _within(seconds: float, done: Awaitable[Any]) -> None:
    """Waits until it is done, for `seconds` at most."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(done, seconds)
