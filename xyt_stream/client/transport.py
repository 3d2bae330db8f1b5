"""A session's messages both ways, carried over as many websockets as it takes."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from xyt_stream.client.handshake import failures, open_session, refusal, retry
from xyt_stream.errors import ConnectionFailedError
from xyt_stream.protocol.closing import close
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.machine import ClientMachine, Event
from xyt_stream.protocol.messages import Ack, End, Error, Hello, Notice, Ready, Resume
from xyt_stream.protocol.replay_buffer import MAX_UNACKNOWLEDGED, AckPolicy, ReplayBuffer
from xyt_stream.protocol.signal import Signal

_QUEUE = 64  # events that may wait to be taken; then the server is held back


class Transport:
    """Reads from now on, takes the session up again when its connection is lost, and says so.

    Args:
        url, hello, keepalive: as `open_session` has them, for the websockets to come.
        machine: the client's end; the session is open.
        websocket: on which it is.
        ready: what the server said on it.
        resume: seconds to try to take the session up again; 0: it ends with its websocket.

    Attributes:
        failure: why nothing can be sent or read any more; None while it can.
        ended: whether the server's `end` has come.
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
        self._resumable = ready.resume is not None and resume > 0
        self._replay_buffer = ReplayBuffer(MAX_UNACKNOWLEDGED if self._resumable else 0)
        self._ack_policy = AckPolicy()
        # Who makes a message sends it before the next is made, and on the websocket of that moment.
        self._sending = asyncio.Lock()
        self._events: collections.deque[Event] = collections.deque()
        self._changed = Signal()
        self._resending: asyncio.Task[None] | None = None
        self._acknowledging: asyncio.Task[None] | None = None
        self._reader = asyncio.create_task(self._read())

    async def next(self) -> Event:
        """What the server has sent next.

        Raises:
            ConnectionFailedError, ProtocolError: nothing more will come.
        """
        while not self._events:
            self.check()
            await self._changed.wait()
        event = self._events.popleft()
        self._changed.notify()
        return event

    async def send_media(self, make: Callable[[], bytes]) -> None:
        """Sends what `make` gives once it may be sent, and keeps it until it is acknowledged."""
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
        await self._replaced(websocket)  # by then it has been sent again

    async def send(self, make: Callable[[], str]) -> None:
        """Sends a control message; it is lost if the connection is."""
        self.check()
        await self._try_to_send(self._websocket, make())

    async def end(self) -> None:
        """Says `end`, on the next websocket if need be."""
        async with self._sending:
            self.check()
            websocket, data = self._websocket, self._machine.end()
            with suppress(ConnectionClosed):
                await websocket.send(data)
                return
        await self._replaced(websocket)

    async def close(self) -> None:
        """Ends the session at once; who still waits for something of it is told so."""
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
        """Raises what there is to say if nothing can be sent or read any more."""
        if self.failure is not None:
            raise self.failure

    async def _replaced(self, websocket: ClientConnection) -> None:
        """Waits for another websocket, or for what there is to say instead."""
        while self._websocket is websocket:
            self.check()
            await self._changed.wait()

    def _put(self, event: Event) -> None:
        self._events.append(event)
        self._changed.notify()

    async def _read(self) -> None:
        """Reads until the end, over as many websockets as it takes."""
        try:
            while not await self._read_on(self._websocket):
                await self._resume()
        except Exception as error:  # whatever it is, those who wait for us must hear of it
            self.failure = error
            self._changed.notify()

    async def _read_on(self, websocket: ClientConnection) -> bool:
        """Whether the session has ended; if not, the websocket was lost."""
        machine = self._machine
        while True:
            while len(self._events) >= _QUEUE:
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
        """Takes the session up again on another websocket.

        Raises:
            ConnectionFailedError: the server was not reached in time.
            ProtocolError: it does not have the session any more.
        """
        self._put(Notice(name="interrupted", message="The connection was lost: trying again."))
        await self._sending.acquire()
        try:
            self._machine.disconnected()
            websocket, ready = await retry(self._open_again, self._resume_seconds)
        except BaseException:
            self._sending.release()
            raise
        assert ready.resume is not None
        self._replay_buffer.acknowledge(ready.resume.received)
        again: list[bytes | str] = [*self._replay_buffer.unacknowledged()]
        if self._machine.sending_over and not ready.resume.ended:
            again.append(self._machine.control(End()))
        self._websocket = websocket
        # Reading goes on meanwhile: a server that is full takes nothing before something is read.
        self._resending = asyncio.create_task(self._resend(websocket, again))
        self._put(Notice(name="resumed", message="The connection is back: nothing was lost."))

    async def _open_again(self) -> tuple[ClientConnection, Ready]:
        assert self._ready.resume is not None
        resume = Resume(token=self._ready.resume.token, received=self._machine.received)
        hello = msgspec.structs.replace(self._hello, resume=resume)
        return await open_session(self._url, hello, self._machine, self._keepalive)

    async def _resend(self, websocket: ClientConnection, again: list[bytes | str]) -> None:
        """Sends what the server has not got; the lock on sending is ours until then."""
        try:
            with suppress(ConnectionClosed):  # it is `_read_on` that notices
                for data in again:
                    await websocket.send(data)
        finally:
            self._sending.release()

    def _acknowledge(self, websocket: ClientConnection) -> None:
        """Tells the server what has come, without waiting: it may be full, see `_resume`."""
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
