"""Carries one session's messages: from the client into its streams, and from them to the client."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TypedDict

import msgspec
from msgspec import UNSET

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Ack, Clear, Cleared, End, Ping, Pong, Ready, Resume
from xyt_stream.protocol.replay_buffer import MAX_UNACKNOWLEDGED
from xyt_stream.protocol.server_machine import ServerMachine
from xyt_stream.server.admission.limits import Pace
from xyt_stream.server.admission.memory import Account
from xyt_stream.server.saved import (
    SavedCodeStream,
    SavedConversation,
    SavedPosition,
    SavedReceiveQueue,
    SavedSender,
    SavedSendQueue,
    SavedSession,
    SavedSlotStream,
)
from xyt_stream.server.sessions.answer import is_relayed
from xyt_stream.server.sessions.flush import DirectWriter
from xyt_stream.server.sessions.framing import AnswerFramer
from xyt_stream.server.sessions.lateness import Lateness
from xyt_stream.server.sessions.receive_queue import ReceiveQueue
from xyt_stream.server.sessions.resources import Resources
from xyt_stream.server.sessions.roles import open_streams
from xyt_stream.server.sessions.send_queue import SendQueue
from xyt_stream.server.sessions.sender import Sender
from xyt_stream.server.sessions.turnaround import TurnaroundTimer

_HEARD_LIVE = ("loopback", "mic", "user")  # roles that lose the oldest where the server is slow
_LIVE_BUFFER = 192 << 10  # bytes that a live listener may be behind before it loses the oldest


class SavedPipeline(TypedDict):
    """The fields of SavedSession that a pipeline fills."""

    clock: int
    sender: SavedSender
    receive_queue: SavedReceiveQueue
    send_queue: SavedSendQueue
    stream: SavedSlotStream | SavedCodeStream | None
    conversation: SavedConversation | None


class Pipeline:
    """The protocol machine, the queues and the streams of one session. For the event loop's thread.

    Args:
        resources: of the server.
        ready: the server's answer to the client.
        voice: which stream a speaker asks for, see Rooms.
        account: counts the bytes that wait here.
        resumable: whether the session survives a lost connection.
        moved: whether the session began on another server.

    Attributes:
        taken_in: whether all up to the client's end was taken in.

    Raises:
        ProtocolError: busy, room_has_mic, room_full and others.
    """

    def __init__(
        self,
        resources: Resources,
        ready: Ready,
        voice: str | None,
        account: Account,
        *,
        resumable: bool,
        moved: bool,
    ) -> None:
        limits = resources.limits
        self.taken_in = False
        self._resources = resources
        self._ready = ready
        self._voice = voice
        self._relayed = is_relayed(ready)
        # Speakers and models are live listeners: they lose the oldest audio when they fall behind.
        self._live = ready.role in ("speaker", "model")
        self._turnaround = TurnaroundTimer(
            ready, resources.metrics.answer.observe, resources.engine.timings.record_answer
        )
        self._machine = ServerMachine()
        self._send_queue = SendQueue(
            ready.receive,
            ready.receive_rate,
            resources.model.output_rate,
            live=self._live,
            limit=limits.queue,
            on_change=lambda: self._sender.wake(),
            on_drop=resources.metrics.dropped.inc,
            on_size=lambda size: account.set("output", size),
        )
        self._held = ExitStack()
        self._streams = self._held.enter_context(
            open_streams(resources, ready, voice, self._send_queue, moved=moved)
        )
        self._receive_queue = ReceiveQueue(
            self._streams.framer,
            self._send_queue,
            rate=ready.send_rate,
            pace=Pace(limits.ahead),
            acknowledges=resumable,
            lateness=Lateness() if ready.role in _HEARD_LIVE and limits.load else None,
            on_ack=lambda: self._sender.wake(),
            on_size=lambda size: account.set("input", size),
            on_late=resources.metrics.late.inc,
        )
        buffer = _LIVE_BUFFER if self._live else MAX_UNACKNOWLEDGED
        self._sender = Sender(
            self._machine,
            self._send_queue,
            replay_bytes=buffer if resumable else 0,
            take_ack=self._receive_queue.take_ack,
            timings=resources.engine.timings,
            flush=resources.flush,
            on_written=self._turnaround.written if self._turnaround.measures else None,
            on_size=lambda size: account.set("replay", size),
        )

    def close(self) -> None:
        """Gives the streams back."""
        self._held.close()

    @property
    def queued(self) -> int:
        """Number of messages queued for the client."""
        return len(self._send_queue)

    @property
    def awaits_media(self) -> bool:
        """Whether the client is expected to send media: speakers and models may be silent."""
        return self._ready.send is not None and not self._live and not self._machine.receiving_over

    @property
    def has_local_model(self) -> bool:
        """Whether it is a conversation with a model of this server."""
        conversation = self._streams.conversation
        return conversation is not None and conversation.has_local_model

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
        return True

    async def receive(self, data: str | bytes) -> None:
        """Takes a message, media even if the connection is lost now; see AnySession."""
        message = self._machine.receive(data)
        if isinstance(message, Ping):
            await self._sender.pong(self._pong(message))
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

    async def run(self) -> None:
        """Takes in what was received, until the client's end. Run it in one task."""
        await self._receive_queue.run()
        self.taken_in = True

    def _put(self, message: Pcm | Codes | End, size: int = 0) -> None:
        """Queues a message of `size` bytes for the streams, or passes codes on at once."""
        if self._sender.going_away is not None:
            return
        if isinstance(message, Pcm):
            # A frame behind others waits for its turn and not for the server: it is not timed.
            self._turnaround.received(message, timed=not len(self._receive_queue))
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

    def _pong(self, ping: Ping) -> Pong:
        resources, ready = self._resources, self._ready
        return Pong(
            time=ping.time,
            coding_ms=resources.engine.timings.coding_ms(),
            load=resources.load(),
            listeners=resources.rooms.listeners(ready.room) if ready.role == "mic" else UNSET,
        )

    # To the client.

    def rewind(self, received: int | None) -> None:
        """Prepares for a client that has all media up to this sequence number and none beyond.

        Raises:
            ProtocolError: cannot_resume: the media that follow are no longer kept.
        """
        self._sender.rewind(received)

    def restart(self, token: str | None, writer: DirectWriter | None) -> None:
        """Begins on a new connection, with `ready` and the media that the client lacks.

        Args:
            token: resumes the session; None: nothing does.
            writer: of the connection; None: all that is sent comes from `next`.
        """
        machine, resume = self._machine, None
        if token is not None:
            resume = Resume(token=token, received=machine.received, ended=machine.receiving_over)
        ready = machine.ready(msgspec.structs.replace(self._ready, resume=resume))
        self._sender.restart(ready, writer)

    async def next(self) -> str | bytes | None:
        """Waits for the next message to the client; see AnySession."""
        return await self._sender.next()

    def drain(self, error: ProtocolError) -> None:
        """Sends what is left and then `error` in place of `end`."""
        if not self._machine.receiving_over:
            self._put(End())
        self._sender.going_away = error

    # To another server.

    async def settled(self) -> None:
        """Waits until all that was taken in has come out; `run` was cancelled."""
        await self._streams.settled()

    async def save(self) -> SavedPipeline:
        """Returns the state that lets another server continue.

        Raises:
            HandoverError: the session has failed.
        """
        stream, conversation = self._streams.stream, self._streams.conversation
        return SavedPipeline(
            clock=self._turnaround.samples,
            sender=self._sender.save(),
            receive_queue=self._receive_queue.save(over=self.taken_in),
            send_queue=self._send_queue.save(),
            stream=None if stream is None else await stream.save(),
            conversation=None if conversation is None else await conversation.save(),
        )

    async def load(self, saved: SavedSession, heard: SavedPosition | None = None) -> None:
        """Goes on as the pipeline of another server, before `run`.

        Args:
            saved: of the other server.
            heard: place up to which the session has heard a mic or a conversation that did not
                move along.

        Raises:
            HandoverError: it does not fit.
        """
        await self._streams.load(saved)
        self._send_queue.load(saved.send_queue)
        room = self._resources.rooms.get(self._ready.room)
        if heard is not None and room is not None and self._ready.role == "speaker":
            room.catch_up(self._send_queue, heard, self._voice)
        self._receive_queue.load(saved.receive_queue)
        self._sender.load(saved.sender)
        self._turnaround.load(saved.clock)
        self.taken_in = saved.receive_queue.over
