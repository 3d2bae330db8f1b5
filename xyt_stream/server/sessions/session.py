"""Implements a client's session of xyt.v1, which may continue on another connection."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import msgspec

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol import messages
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import Hello
from xyt_stream.protocol.place import resume_token
from xyt_stream.protocol.server_machine import ServerMachine
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.admission.budget import Charge, free, metered
from xyt_stream.server.admission.memory import Account
from xyt_stream.server.saved import SavedPosition, SavedSession
from xyt_stream.server.sessions.answer import answer, is_relayed, is_sealed
from xyt_stream.server.sessions.flush import DirectWriter
from xyt_stream.server.sessions.pipeline import Pipeline
from xyt_stream.server.sessions.resources import Resources

_log = logging.getLogger(__name__)


class Session:
    """A client's state in the server, from its hello to its end; see AnySession for the interface.

    Args:
        resources: of the server.
        hello: the client's.
        address: of the client.
        saved: of the server where the session began; None: it begins here.

    Attributes:
        resumable: whether the session survives a lost connection.
        moving: whether it goes to another server, and accepts no connection.

    Raises:
        ProtocolError: busy, room_has_mic, room_full, too_many and others.
    """

    def __init__(
        self,
        resources: Resources,
        hello: Hello,
        address: str,
        saved: SavedSession | None = None,
    ) -> None:
        limits = resources.limits
        self.id = secrets.token_hex(4) if saved is None else saved.id
        self.key = secrets.token_urlsafe(24) if saved is None else saved.key
        self.began = self._received_at = time.monotonic()
        self.moving = False
        self._hello = msgspec.structs.replace(hello, token=None, resume=None)
        self._address = address
        self.resumable = hello.resumable and limits.resume_time > 0
        self.closed = asyncio.Event()
        self.failure: asyncio.Future[ProtocolError] = asyncio.get_running_loop().create_future()
        self._resources = resources
        self._ready = answer(resources, hello, self.id)
        self.sends = self._ready.send is not None
        self._account = Account(
            resources.memory, lambda: self.abort(protocol_error("too_much_memory"))
        )
        self._superseded: asyncio.Future[None] | None = None  # ends the connection; None: none
        self._detached = Signal()
        self._suspended_at: float | None = None
        with ExitStack() as stack:
            stack.enter_context(resources.gate.session(address))
            if self._ready.send == "pcm":
                resources.engine.check_free()  # before anything refers to the session
            if is_relayed(self._ready):
                stack.enter_context(resources.relayed.session())
            self._pipeline = stack.enter_context(
                closing(
                    Pipeline(
                        resources,
                        self._ready,
                        hello.voice,
                        self._account,
                        resumable=self.resumable,
                        moved=saved is not None,
                    )
                )
            )
            resources.rooms.agree(hello.room, self._ready.model, sealed=is_sealed(self._ready))
            self._held = stack.pop_all()
        self._charge: Charge = free
        self._taking_in: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins, or goes on, to take in what the client has sent."""
        if not self._pipeline.taken_in and not self.closed.is_set():
            self._taking_in = asyncio.create_task(self._take_in())

    @property
    def room(self) -> str | None:
        """Name of its room; None without one."""
        return self._ready.room

    @property
    def hears_sound(self) -> bool:
        """Whether its client receives sound."""
        return "pcm" in self._ready.receive

    @property
    def voice(self) -> str | None:
        """The voice that a speaker asks for: "user" or "model"; None: either way."""
        return self._hello.voice

    @property
    def role(self) -> str:
        """Name of its role."""
        return self._ready.role

    # One connection after another.

    def rewind(self, received: int | None) -> None:
        """Prepares for a client that has all media up to this sequence number and none beyond.

        Raises:
            ProtocolError: cannot_resume: the media that follow are no longer kept.
        """
        self._pipeline.rewind(received)

    async def supersede(self) -> None:
        """Ends the current connection, if there is one, in favour of a newer one."""
        while self._superseded is not None:
            if not self._superseded.done():
                self._superseded.set_result(None)
            await self._detached.wait()

    @contextmanager
    def attach(
        self, writer: DirectWriter | None = None, charge: Charge = free
    ) -> Iterator[asyncio.Future[None]]:
        """Begins with `ready` and the media that the client lacks; see AnySession."""
        self._charge = charge
        self._suspended_at = None
        self._received_at = time.monotonic()
        self._pipeline.restart(self._token(), writer)
        self._superseded = superseded = asyncio.get_running_loop().create_future()
        try:
            yield superseded
        finally:
            self._superseded, self._charge = None, free
            self._detached.notify()

    def disconnected(self) -> None:
        """Suspends the session if it is resumable; see AnySession."""
        if self.resumable and not self.failure.done():
            self._suspended_at = time.monotonic()
        else:
            self.close("disconnected")

    def receive_now(self, data: str | bytes) -> bool:
        """Takes codes and acknowledgements, most of what a relay gets; see AnySession."""
        if not self._pipeline.receive_now(data):
            return False
        self._received_at = time.monotonic()
        return True

    async def receive(self, data: str | bytes) -> None:
        """Takes a message, media even if the connection is lost now; see AnySession."""
        self._received_at = time.monotonic()
        await self._pipeline.receive(data)

    async def next(self) -> str | bytes | None:
        """Waits for the next message to the client; see AnySession."""
        return await self._pipeline.next()

    # To another server.

    @property
    def may_move(self) -> bool:
        """Whether it can go on at another server: not with a model of this one."""
        movable = self.resumable and not self._pipeline.has_local_model
        return movable and not self.failure.done()

    async def detach(self) -> None:
        """Ends the current connection, if there is one: the client is to come back elsewhere."""
        self.moving = True
        await self.supersede()

    async def detach_early(self) -> None:
        """Ends the current connection, if there is one; the session goes on until it is taken."""
        if self._superseded is not None:
            self.moving = True
            try:
                await self.supersede()
            finally:
                self.moving = False

    async def freeze(self) -> None:
        """Takes nothing more in, and waits until all that was taken in has come out."""
        if self._taking_in is not None:
            self._taking_in.cancel()
            await asyncio.gather(self._taking_in, return_exceptions=True)
        await self._pipeline.settled()

    async def save(self) -> SavedSession:
        """All of a frozen session that another server needs.

        Raises:
            HandoverError: it has failed.
        """
        hello = messages.encode(self._hello)
        assert isinstance(hello, str)
        return SavedSession(
            id=self.id,
            key=self.key,
            address=self._address,
            hello=hello,
            age=time.monotonic() - self.began,
            **await self._pipeline.save(),
        )

    async def load(self, saved: SavedSession, heard: SavedPosition | None = None) -> None:
        """Goes on as the session of another server, before `start`; it waits for its client.

        Args:
            saved: of the other server.
            heard: place up to which it has heard a mic or a conversation that did not move along.

        Raises:
            HandoverError: it does not fit.
        """
        await self._pipeline.load(saved, heard)
        self.began = time.monotonic() - max(0.0, saved.age)
        self._suspended_at = time.monotonic()

    # Its end.

    @property
    def suspended(self) -> bool:
        """Whether it waits for a disconnected client."""
        return self._suspended_at is not None

    @property
    def queued(self) -> int:
        """Number of messages queued for the client."""
        return self._pipeline.queued

    def check(self, now: float) -> None:
        """Ends the session if a time limit has passed; see AnySession."""
        limits = self._resources.limits
        idle = now - self._received_at if self._pipeline.awaits_media else 0.0
        if self._suspended_at is not None:
            if now - self._suspended_at > limits.resume_time:
                self.close("not resumed")
        elif limits.session_time and now - self.began > limits.session_time:
            self.abort(protocol_error("time_over"))
        elif limits.idle_time and idle > limits.idle_time:
            self.abort(protocol_error("idle"))

    def drain(self, error: ProtocolError) -> None:
        """Sends what is left and then `error` in place of `end`; see AnySession."""
        if self.suspended:
            self.close(error.name)
        else:
            self._pipeline.drain(error)

    def abort(self, error: ProtocolError) -> None:
        """Ends the session with `error` now; see AnySession."""
        if self.suspended:
            self.close(error.name)
        elif not self.failure.done():
            self.failure.set_result(error)

    def fail(self, error: ProtocolError) -> list[str]:
        """Closes the session, unless another connection goes on with it; see AnySession."""
        if error.name != "superseded":
            self.close(error.name)
        return [ServerMachine().error(error)]

    def close(self, reason: str) -> None:
        """Gives everything back; see AnySession."""
        if not self.closed.is_set():
            self.closed.set()
            if self._taking_in is not None:
                self._taking_in.cancel()
            self._held.close()
            self._account.close()
            self._resources.on_closed(self, reason)

    async def _take_in(self) -> None:
        try:
            await metered(self._pipeline.run(), lambda seconds: self._charge(seconds))
        except Exception:
            _log.exception("a session failed")
            self.abort(protocol_error("internal"))

    def _token(self) -> str | None:
        """The token that resumes the session; None: nothing does."""
        return resume_token(self._resources.node, self.key) if self.resumable else None
