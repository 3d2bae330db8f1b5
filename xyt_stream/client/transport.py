"""Sends and receives one session's messages, and resumes it when its websocket is lost."""

from __future__ import annotations

import asyncio
import collections
import ssl
from collections.abc import Callable
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from xyt_stream.client.handshake import failures, open_session, refusal, retry
from xyt_stream.client.traffic import Traffic
from xyt_stream.errors import ConnectionFailedError, ProtocolError
from xyt_stream.protocol.client_machine import ClientMachine
from xyt_stream.protocol.closing import close
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.machine import Event
from xyt_stream.protocol.messages import Ack, End, Error, Hello, Notice, Ready, Resume
from xyt_stream.protocol.place import placed
from xyt_stream.protocol.replay_buffer import MAX_UNACKNOWLEDGED, AckPolicy, ReplayBuffer
from xyt_stream.protocol.signal import Signal

_MOST_HOPS = 3  # nodes that send the client on, after which it waits before the next attempt
_MAX_EVENTS = 64  # received events that wait; then reading pauses, which holds the server back


class Transport:
    """Reads from its creation on, in a task of its own. All methods run on one event loop.

    Args:
        url, hello, keepalive, tls: as in `open_session`, for resuming.
        machine: the client's protocol machine, in state OPEN.
        websocket: the session's first websocket.
        ready: the server's `ready`.
        traffic: counts the bytes of all websockets.
        resume: seconds to try to resume a lost session; 0: it ends with its websocket.

    Attributes:
        failure: the reason why nothing can be sent or received any more; None while it can.
        ended: whether the server's `end` has arrived.
    """

    def __init__(
        self,
        url: str,
        hello: Hello,
        machine: ClientMachine,
        websocket: ClientConnection,
        ready: Ready,
        resume: float,
        keepalive: float | None,
        traffic: Traffic,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.failure: Exception | None = None
        self.ended = False
        self._url = url
        self._hello = hello
        self._machine = machine
        self._websocket = websocket
        self._ready = ready
        self._resume_seconds = resume
        self._keepalive = keepalive
        self._traffic = traffic
        self._tls = tls
        self._resumable = ready.resume is not None and resume > 0
        self._replay_buffer = ReplayBuffer(MAX_UNACKNOWLEDGED if self._resumable else 0)
        self._ack_policy = AckPolicy()
        # Held while a message is made and sent: the order on the wire is that of the numbers.
        self._sending = asyncio.Lock()
        self._events: collections.deque[Event] = collections.deque()
        self._changed = Signal()
        self._resending: asyncio.Task[None] | None = None
        self._acknowledging: asyncio.Task[None] | None = None
        self._reader = asyncio.create_task(self._read())

    async def next(self) -> Event:
        """Waits for the server's next message.

        Raises:
            ConnectionFailedError, ProtocolError: the session is over.
        """
        while not self._events:
            self.check()
            await self._changed.wait()
        event = self._events.popleft()
        self._changed.notify()
        return event

    async def send_media(self, make: Callable[[], bytes]) -> None:
        """Sends the message of `make`, and keeps it until it is acknowledged.

        Waits while the replay buffer is full or the session is being resumed.

        Raises:
            ConnectionFailedError, ProtocolError: the session is over.
        """
        while self._replay_buffer.full:
            self.check()
            await self._changed.wait()
        async with self._sending:
            self.check()
            websocket, data = self._websocket, make()
            self._replay_buffer.add(data)
            with suppress(ConnectionClosed):
                await websocket.send(data)
                return
        await self._wait_for_another(websocket)  # resuming sends the message again

    async def send(self, make: Callable[[], str]) -> None:
        """Sends a control message; it is lost if the connection is lost.

        Raises:
            ConnectionFailedError, ProtocolError: the session is over.
        """
        self.check()
        await self._try_to_send(self._websocket, make())

    async def round_trip(self) -> float | None:
        """Seconds until the answer to a websocket ping; None: the connection was lost meanwhile."""
        with suppress(ConnectionClosed):
            return await (await self._websocket.ping())
        return None

    async def end(self) -> None:
        """Sends `end`, on the next websocket if this one is lost.

        Raises:
            ConnectionFailedError, ProtocolError: the session is over.
        """
        async with self._sending:
            self.check()
            websocket, data = self._websocket, self._machine.end()
            with suppress(ConnectionClosed):
                await websocket.send(data)
                return
        await self._wait_for_another(websocket)

    async def close(self) -> None:
        """Ends the session at once; calls that still wait raise ProtocolError."""
        if self.failure is None:
            self.failure = protocol_error("not_allowed", "The session was closed here.")
        self._changed.notify()
        tasks = [self._reader, self._resending, self._acknowledging]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await close(self._websocket)

    def check(self) -> None:
        """Raises `failure`, if there is one."""
        if self.failure is not None:
            raise self.failure

    async def _wait_for_another(self, websocket: ClientConnection) -> None:
        """Waits until `websocket` has been replaced; raises `failure` if it never will be."""
        while self._websocket is websocket:
            self.check()
            await self._changed.wait()

    def _put(self, event: Event) -> None:
        self._events.append(event)
        self._changed.notify()

    async def _read(self) -> None:
        """Reads until the session ends, resuming it as often as needed."""
        try:
            while not await self._read_until_lost(self._websocket):
                await self._resume()
        except Exception as error:  # any error must reach the callers that wait
            self.failure = error
            self._changed.notify()

    async def _read_until_lost(self, websocket: ClientConnection) -> bool:
        """Reads one websocket; returns True if the session ended, False if it was lost."""
        machine = self._machine
        while True:
            while len(self._events) >= _MAX_EVENTS:
                await self._changed.wait()
            try:
                with failures():
                    data = await websocket.recv()
            except ConnectionFailedError:
                if not self._resumable:
                    raise
                return False
            event = machine.receive(data)
            if isinstance(event, Error):
                raise refusal(event)
            if isinstance(event, Ack):
                self._replay_buffer.acknowledge(event.received)
                self._changed.notify()
            elif event is not None:
                self._put(event)
            if isinstance(event, End):
                self.ended = True
                self.failure = protocol_error("not_allowed", "The session has ended already.")
                return True
            if isinstance(data, bytes) and self._resumable:
                self._ack_policy.count(len(data))
                self._acknowledge(websocket)

    async def _resume(self) -> None:
        """Resumes the session on another websocket.

        Raises:
            ConnectionFailedError: the server was not reached in time.
            ProtocolError: the server no longer has the session.
        """
        self._put(Notice(name="interrupted", message="The connection was lost: trying again."))
        await self._sending.acquire()
        try:
            websocket, ready = await retry(self._reopen, self._resume_seconds)
        except BaseException:
            self._sending.release()
            raise
        assert ready.resume is not None
        self._ready = ready  # another node may have the session now
        self._replay_buffer.acknowledge(ready.resume.received)
        messages: list[bytes | str] = [*self._replay_buffer.unacknowledged()]
        if self._machine.sending_over and not ready.resume.ended:
            messages.append(self._machine.control(End()))
        self._websocket = websocket
        # In a task, so that reading goes on: a server with full buffers reads nothing until we do.
        self._resending = asyncio.create_task(self._resend(websocket, messages))
        self._put(Notice(name="resumed", message="The connection is back: nothing was lost."))

    async def _reopen(self) -> tuple[ClientConnection, Ready]:
        assert self._ready.resume is not None
        resume = Resume(token=self._ready.resume.token, received=self._machine.received)
        hello = msgspec.structs.replace(self._hello, resume=resume)
        hops = 0
        while True:
            url = placed(self._url, hello.room, self._ready.node, hello.role)
            self._machine.disconnected()  # an error at the last attempt has closed it
            try:
                return await open_session(
                    url, hello, self._machine, self._keepalive, self._traffic, self._tls
                )
            except ProtocolError as error:
                if error.name != "moved" or error.node is None:
                    raise
                self._ready = msgspec.structs.replace(self._ready, node=error.node)
                if (hops := hops + 1) > _MOST_HOPS:
                    raise

    async def _resend(self, websocket: ClientConnection, messages: list[bytes | str]) -> None:
        """Sends the unacknowledged messages again, then releases the lock of `_resume`."""
        try:
            with suppress(ConnectionClosed):  # `_read_until_lost` notices the loss
                for data in messages:
                    await websocket.send(data)
        finally:
            self._sending.release()

    def _acknowledge(self, websocket: ClientConnection) -> None:
        """Sends an acknowledgement if one is due, in a task: see `_resume`."""

        busy = self._acknowledging is not None and not self._acknowledging.done()
        received = self._machine.received
        if self._ack_policy.due and not busy and received is not None:
            self._ack_policy.reset()
            ack = self._machine.control(Ack(received=received))
            self._acknowledging = asyncio.create_task(self._try_to_send(websocket, ack))

    @staticmethod
    async def _try_to_send(websocket: ClientConnection, data: str) -> None:
        with suppress(ConnectionClosed):
            await websocket.send(data)
