"""Accepts connections: opens the port, and passes each websocket and each page on."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from typing import Any, cast

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from xyt_stream.server import connection, pages
from xyt_stream.server.admission.budget import Budget, metered
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.admission.sockets import Socket
from xyt_stream.server.admission.standing import ReadingTurns
from xyt_stream.server.admission.turns import NEW_CREDIT, NEW_SHARE, Turns
from xyt_stream.server.cascade.cascade import Cascade
from xyt_stream.server.handover.drain import Handover
from xyt_stream.server.service import CLOSE_TIMEOUT, Service

# Silences websockets' handshake log: port scanners would flood it.
_handshakes = logging.getLogger(f"{__name__}.handshakes")
_handshakes.setLevel(logging.CRITICAL)


class Acceptor:
    """Accepts the connections of one server. For the event loop's thread.

    Args:
        limits: of everything.
        relays: whether the server only passes codes on.
    """

    def __init__(self, limits: Limits, *, relays: bool) -> None:
        self._limits = limits
        # A relay has no thread that waits for the interpreter's lock, and many clients.
        share = 1.0 if relays else NEW_SHARE
        self._turns = ReadingTurns(
            calm=Turns(),
            floods=Turns(),
            newcomers=Turns(share=share, turn=0, credit=NEW_CREDIT),
        )
        self._service: Service
        self._handover: Handover | None
        self._cascade: Cascade | None

    async def listen(self, hosts: Sequence[str], port: int, tls: ssl.SSLContext | None) -> Server:
        """Opens the port; `begin` must be called before the event loop runs again.

        Args:
            hosts: addresses to listen on.
            port: 0 picks a free one.
            tls: certificate and key, for wss://.

        Raises:
            OSError: an address or the port cannot be used.
        """
        limits = self._limits
        addresses: Any = hosts  # asyncio takes several; websockets types it as one
        server: Server = await listen(
            self._handle,
            addresses,
            port,
            # Coded sound does not compress; asyncio itself turns Nagle's algorithm off.
            compression=None,
            max_size=limits.message_bytes,
            select_subprotocol=_select,
            process_request=self._page,
            open_timeout=limits.hello_time,
            ping_interval=limits.keepalive or None,
            ping_timeout=limits.keepalive or None,
            close_timeout=CLOSE_TIMEOUT,
            ssl=tls,
            create_connection=cast(type[ServerConnection], self._connect),
            logger=_handshakes,
        )
        return server

    def begin(self, service: Service, handover: Handover | None, cascade: Cascade | None) -> None:
        """Sets the parts that serve the connections.

        Args:
            service: holds the sessions.
            handover: moves sessions to other nodes and from them; None: the server is alone.
            cascade: exchanges the streams of rooms with other nodes; None likewise.
        """
        self._service, self._handover, self._cascade = service, handover, cascade

    def _connect(self, protocol: ServerProtocol, server: Server, **options: Any) -> Socket:
        return Socket(
            protocol,
            server,
            budget=Budget(self._limits),
            turns=self._turns,
            handshakes=self._service.handshakes,
            **options,
        )

    async def _page(self, socket: ServerConnection, request: Request) -> Response | None:
        if connection.is_realtime(request):
            socket.protocol.max_message_size = self._limits.realtime_bytes
        assert isinstance(socket, Socket)
        return await pages.answer(self._service, socket, request)

    async def _handle(self, socket: ServerConnection) -> None:
        assert isinstance(socket, Socket)
        serving = connection.handle(self._service, socket, self._handover, self._cascade)
        await metered(serving, socket.standing.opened)


def _select(socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    # A client without ours is accepted, so that it can be sent an error that says so.
    ours = connection.subprotocol_for(socket.request)
    return Subprotocol(ours) if ours in offered else None
