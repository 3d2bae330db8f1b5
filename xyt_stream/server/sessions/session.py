"""Implements a client's session of xyt.v1, which may continue on another connection."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec
from msgspec import UNSET

from xyt_stream.errors import HandoverError, ProtocolError
from xyt_stream.protocol import messages
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.frame_clock import FrameClock
from xyt_stream.protocol.machine import Codes, Pcm, ServerMachine
from xyt_stream.protocol.messages import (
    Ack,
    Clear,
    Cleared,
    End,
    Hello,
    Ping,
    Pong,
    Resume,
)
from xyt_stream.protocol.place import resume_token
from xyt_stream.protocol.replay_buffer import MAX_UNACKNOWLEDGED
from xyt_stream.protocol.roles import ROLES
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.admission.budget import Charge, free, metered
from xyt_stream.server.admission.limits import Pace
from xyt_stream.server.admission.memory import Account
from xyt_stream.server.engine.code_stream import load_stream
from xyt_stream.server.saved import SavedPosition, SavedSession
from xyt_stream.server.sessions.answer import answer, is_relayed, is_sealed
from xyt_stream.server.sessions.flush import DirectWriter
from xyt_stream.server.sessions.framing import AnswerFramer
from xyt_stream.server.sessions.lateness import Lateness
from xyt_stream.server.sessions.receive_queue import ReceiveQueue
from xyt_stream.server.sessions.resources import Resources
from xyt_stream.server.sessions.roles import open_streams
from xyt_stream.server.sessions.send_queue import SendQueue
from xyt_stream.server.sessions.sender import Sender

_log = logging.getLogger(__name__)

_HEARD_LIVE = ("loopback", "mic", "user")  # roles that lose the oldest where the server is slow
_LIVE_BUFFER = 192 << 10  # bytes that a live listener may be behind before it loses the oldest


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
        self._role = ROLES[hello.role]
        self._ready = answer(resources, hello, self.id)
        self._relayed = is_relayed(self._ready)
        self.sends = self._ready.send is not None
        self._machine = ServerMachine()
        # Speakers and models are live listeners: they lose the oldest audio when they fall behind.
        self._live = hello.role in ("speaker", "model")
        self._account = Account(
            resources.memory, lambda: self.abort(protocol_error("too_much_memory"))
        )
        self._superseded: asyncio.Future[None] | None = None  # ends the connection; None: none
        self._detached = Signal()
        self._suspended_at: float | None = None
        # A frame's sound comes after its codes, so that is what answers it.
        self._frames = FrameClock(self._ready.frame_samples)
        self._answers = Pcm if "pcm" in self._ready.receive else Codes
        self._send_queue = SendQueue(
            self._ready.receive,
            self._ready.receive_rate,
            resources.model.output_rate,
            live=self._live,
            limit=limits.queue,
            on_change=lambda: self._sender.wake(),
            on_drop=resources.metrics.dropped.inc,
            on_size=lambda size: self._account.set("output", size),
        )
        with ExitStack() as stack:
            stack.enter_context(resources.gate.session(address))
            if self._relayed:
                stack.enter_context(resources.relayed.session())
            self._streams = stack.enter_context(
                open_streams(
                    resources,
                    self._ready,
                    hello.voice,
                    self._send_queue,
                    moved=saved is not None,
                )
            )
            resources.rooms.agree(hello.room, self._ready.model, sealed=is_sealed(self._ready))
            self._held = stack.pop_all()
        self._receive_queue = ReceiveQueue(
            self._streams.framer,
            self._send_queue,
            rate=self._ready.send_rate,
            pace=Pace(limits.ahead),
            acknowledges=self.resumable,
            lateness=Lateness() if hello.role in _HEARD_LIVE and limits.load else None,
            on_ack=lambda: self._sender.wake(),
            on_size=lambda size: self._account.set("input", size),
            on_late=resources.metrics.late.inc,
        )
        buffer = _LIVE_BUFFER if self._live else MAX_UNACKNOWLEDGED
        self._sender = Sender(
            self._machine,
            self._send_queue,
            replay_bytes=buffer if self.resumable else 0,
            take_ack=self._receive_queue.take_ack,
            timings=resources.engine.timings,
            flush=resources.flush,
            on_written=self._on_written if self._hears_itself else None,
            on_size=lambda size: self._account.set("replay", size),
        )
        self._charge: Charge = free
        self._taking_in: asyncio.Task[None] | None = None
        self._taken_in = False  # whether all up to the client's end was taken in

    def start(self) -> None:
        """Begins, or goes on, to take in what the client has sent."""
        if not self._taken_in and not self.closed.is_set():
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
    def role(self) -> str:
        """Name of its role."""
        return self._role.name

    # One connection after another.

    def rewind(self, received: int | None) -> None:
        """Prepares for a client that has all media up to this sequence number and none beyond.

        Raises:
            ProtocolError: cannot_resume: the media that follow are no longer kept.
        """
        self._sender.rewind(received)

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
        self._sender.restart(self._ready_message(), writer)
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

    # From the client.

    def receive_now(self, data: str | bytes) -> bool:
        """Takes codes and acknowledgements, most of what a relay gets; see AnySession."""
        if isinstance(data, str):
            if (ack := self._machine.ack(data)) is None:
                return False
            self._sender.acknowledge(ack.received)
        elif self._relayed and not len(self._receive_queue):
            message = self._machine.receive(data)
            if isinstance(message, Codes):
                self._put(message, len(data))
        else:
            return False
        self._received_at = time.monotonic()
        return True

    async def receive(self, data: str | bytes) -> None:
        """Takes a message, media even if the connection is lost now; see AnySession."""
        message = self._machine.receive(data)
        self._received_at = time.monotonic()
        if isinstance(message, Ping):
            resources = self._resources
            pong = Pong(
                time=message.time,
                coding_ms=resources.engine.timings.coding_ms(),
                load=resources.load(),
                listeners=resources.rooms.listeners(self.room) if self.role == "mic" else UNSET,
            )
            await self._sender.pong(pong)
        elif isinstance(message, Ack):
            self._sender.acknowledge(message.received)
        elif isinstance(message, Clear):
            self._interrupt()
        elif isinstance(message, Cleared):
            if self._streams.conversation is not None:
                unplayed = self._send_queue.unplayed_frames(message.unplayed or 0)
                self._streams.conversation.report_unplayed(unplayed)
        elif isinstance(message, Pcm | Codes | End):
            self._put(message, len(data))
        await self._receive_queue.drain()

    def _put(self, message: Pcm | Codes | End, size: int = 0) -> None:
        if self._sender.going_away is not None:
            return
        if isinstance(message, Pcm) and self._hears_itself:
            # A frame behind others waits for its turn and not for the server: it is not timed.
            self._frames.fill(len(message.samples), timed=not len(self._receive_queue))
        received = self._machine.received
        if isinstance(message, Codes) and self._relayed:
            self._resources.metrics.relayed.inc(message.codes.shape[1])
            if self._receive_queue.take_now(message, size, received):
                return
        self._receive_queue.put(message, size, received)

    def _interrupt(self) -> None:
        """Drops the model's speech that the user has not heard."""
        if isinstance(self._streams.framer, AnswerFramer):
            self._streams.framer.interrupt(self._receive_queue.drop_codes())
        elif self._streams.conversation is not None:
            self._streams.conversation.interrupt()

    # To the client.

    async def next(self) -> str | bytes | None:
        """Waits for the next message to the client; see AnySession."""
        return await self._sender.next()

    def _on_written(self, message: Pcm | Codes) -> None:
        """Measures how long the frame took whose result was written."""
        if isinstance(message, self._answers):
            seconds = self._frames.done(message.frame)
            if seconds is not None:
                self._resources.metrics.answer.observe(seconds)
                self._resources.engine.timings.record_answer(seconds)

    # To another server.

    @property
    def may_move(self) -> bool:
        """Whether it can go on at another server: not with a model of this one."""
        conversation = self._streams.conversation
        local = conversation is not None and conversation.has_local_model
        return self.resumable and not local and not self.failure.done()

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
        for stream in (self._streams.stream, self._streams.conversation):
            if stream is not None:
                await stream.settled()

    async def save(self) -> SavedSession:
        """All of a frozen session that another server needs.

        Raises:
            HandoverError: it has failed.
        """
        stream, conversation = self._streams.stream, self._streams.conversation
        hello = messages.encode(self._hello)
        assert isinstance(hello, str)
        return SavedSession(
            id=self.id,
            key=self.key,
            address=self._address,
            hello=hello,
            age=time.monotonic() - self.began,
            clock=self._frames.samples,
            sender=self._sender.save(),
            receive_queue=self._receive_queue.save(over=self._taken_in),
            send_queue=self._send_queue.save(),
            stream=None if stream is None else await stream.save(),
            conversation=None if conversation is None else await conversation.save(),
        )

    async def load(self, saved: SavedSession, heard: SavedPosition | None = None) -> None:
        """Goes on as the session of another server, before `start`; it waits for its client.

        Args:
            saved: of the other server.
            heard: place up to which it has heard a mic that did not move along.

        Raises:
            HandoverError: it does not fit.
        """
        stream, conversation = self._streams.stream, self._streams.conversation
        if stream is not None and saved.stream is not None:
            await load_stream(stream, saved.stream)
        elif stream is not None or saved.stream is not None:
            raise HandoverError("a session's stream does not fit its role")
        if conversation is not None and saved.conversation is not None:
            await conversation.load(saved.conversation)
        elif conversation is not None or saved.conversation is not None:
            raise HandoverError("a session's conversation does not fit its role")
        self._send_queue.load(saved.send_queue)
        room = self._resources.rooms.get(self.room)
        if heard is not None and room is not None and self.role == "speaker":
            room.catch_up(self._send_queue, heard)  # and from then on it hears what comes
        self._receive_queue.load(saved.receive_queue)
        self._sender.load(saved.sender)
        self._frames.fill(max(0, saved.clock), timed=False)
        self._taken_in = saved.receive_queue.over
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
        return len(self._send_queue)

    def check(self, now: float) -> None:
        """Ends the session if a time limit has passed; see AnySession."""
        limits = self._resources.limits
        if self._suspended_at is not None:
            if now - self._suspended_at > limits.resume_time:
                self.close("not resumed")
        elif limits.session_time and now - self.began > limits.session_time:
            self.abort(protocol_error("time_over"))
        elif self._sends and limits.idle_time and now - self._received_at > limits.idle_time:
            self.abort(protocol_error("idle"))

    def drain(self, error: ProtocolError) -> None:
        """Sends what is left and then `error` in place of `end`; see AnySession."""
        if self.suspended:
            self.close(error.name)
            return
        if not self._machine.receiving_over:
            self._put(End())
        self._sender.going_away = error

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
            await metered(self._receive_queue.run(), lambda seconds: self._charge(seconds))
            self._taken_in = True
        except Exception:
            _log.exception("a session failed")
            self.abort(protocol_error("internal"))

    @property
    def _sends(self) -> bool:
        """Whether the client is expected to send media: speakers and models may be silent."""
        return self._ready.send is not None and not self._live and not self._machine.receiving_over

    @property
    def _hears_itself(self) -> bool:
        """Whether the client receives what it sends."""
        return self._role.in_room == "no" and bool(self._ready.receive)

    def _ready_message(self) -> str:
        """Opens the machine and encodes `ready`."""
        resume = None
        if self.resumable:
            machine = self._machine
            token = resume_token(self._resources.node, self.key)
            resume = Resume(token=token, received=machine.received, ended=machine.receiving_over)
        return self._machine.ready(msgspec.structs.replace(self._ready, resume=resume))
