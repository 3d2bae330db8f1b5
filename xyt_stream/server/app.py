"""Runs a server: `serve` blocks, `running` shares an event loop with other tasks."""

from __future__ import annotations

import asyncio
import gc
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xyt_stream.errors import ServeError
from xyt_stream.protocol.place import is_node_name
from xyt_stream.server import log
from xyt_stream.server.acceptor import Acceptor
from xyt_stream.server.admission.access import Access, all_tokens, check_bind
from xyt_stream.server.admission.address import check_address, hosts_of, why_not
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.admission.proxies import Proxies
from xyt_stream.server.admission.reclaim import freeze
from xyt_stream.server.cascade.cascade import Cascade
from xyt_stream.server.duplex.models import Factory, load
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.event_loop import run_fast
from xyt_stream.server.handover.drain import Handover
from xyt_stream.server.handover.peers import Peers
from xyt_stream.server.service import Service

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Running:
    """A server that accepts connections.

    Attributes:
        host, port: that it listens on.
        service: its sessions.
        name: of its model; "codes" for a relay.
        secure: whether it serves TLS.
        handover: moves sessions to other nodes and from them; None: it is alone.
    """

    host: str
    port: int
    service: Service
    name: str
    secure: bool = False
    handover: Handover | None = None

    @property
    def engine(self) -> SlotEngine:
        """The engine of its sessions."""
        return self.service.engine

    @property
    def url(self) -> str:
        """Its websocket address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}"


@asynccontextmanager
async def running(
    codec: Codec | None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    max_sessions: int = 32,
    lookahead: int = 0,
    access: Access | None = None,
    public: bool = False,
    tls: ssl.SSLContext | None = None,
    limits: Limits | None = None,
    proxies: Sequence[str] = (),
    duplex: Factory | None = None,
    node: str | None = None,
    peers: Peers | None = None,
) -> AsyncIterator[Running]:
    """Serves while the block runs; afterwards drains the sessions, see Limits.drain_time.

    Args:
        codec: the loaded model; None: a relay, which passes codes on and needs no torch.
        host: address to listen on.
        port: 0 picks a free one.
        max_sessions: number of slots; when all are taken, clients are refused as busy. 0: as many
            as this machine serves in real time, measured now.
        lookahead: frames of future context that a bidirectional model waits for.
        access: authorises clients; None: every client is admitted.
        public: whether to serve other machines even if every client is admitted.
        tls: certificate and key, for wss://.
        limits: of everything.
        proxies: addresses and networks of proxies whose X-Forwarded-For header is believed.
        duplex: makes speech models that users talk with, see duplex/models.py.
        node: name of this server among those behind a proxy; None: it is alone.
        peers: the other nodes, with which live sessions are exchanged; None: sessions stay.

    Raises:
        ServeError: an address cannot be used, the duplex model cannot be made, or the name has
            other characters than letters, digits, hyphens and underscores.
    """
    if node is not None and not is_node_name(node):
        raise ServeError(
            f"{node!r} cannot name a node: use 1 to 63 letters, digits, hyphens and underscores, "
            "at least one of them no digit"
        )
    access, limits = access or Access(), limits or Limits()
    check_bind(host, access, public=public)
    addresses = hosts_of(host)
    if len(addresses) > 1 and not port:
        port = check_address(host, port)  # asyncio would pick a port for each of them

    acceptor = Acceptor(limits, relays=codec is None)
    try:
        server = await acceptor.listen(addresses, port, tls)
    except OSError as error:
        raise ServeError(why_not(error, host, port)) from None
    # This blocks the event loop until the model is warm: connections wait in the backlog.
    try:
        service = Service(
            codec,
            max_sessions=max_sessions or _capacity(codec, lookahead),
            lookahead=lookahead,
            access=access,
            limits=limits,
            proxies=Proxies(proxies),
            duplex=duplex,
            node=node,
        )
        service.engine.warm_up()
        handover, cascade = (None, None) if peers is None else _join(service, peers)
        acceptor.begin(service, handover, cascade)
    except BaseException:
        server.close()
        raise
    service.start()
    checks = asyncio.create_task(service.run())
    try:
        async with server:
            port = server.sockets[0].getsockname()[1]
            name = "codes" if codec is None else codec.name
            if gc.get_freeze_count():
                freeze()
            yield Running(host, port, service, name, tls is not None, handover)
            await (service if handover is None else handover).drain()
    finally:
        checks.cancel()
        if cascade is not None:
            await cascade.subscriber.stop()
        service.stop()


def serve(
    codec: Codec | None,
    *,
    host: str,
    port: int,
    max_sessions: int,
    token: str | None = None,
    lookahead: int = 0,
    token_file: Path | None = None,
    origins: Sequence[str] = (),
    allow_anyone: bool = False,
    tls: ssl.SSLContext | None = None,
    limits: Limits | None = None,
    proxies: Sequence[str] = (),
    duplex: str | None = None,
    node: str | None = None,
    peers: Peers | None = None,
    log_level: str = "info",
    on_ready: Callable[[Running], None] | None = None,
) -> None:
    """Serves until SIGINT, SIGTERM or SIGHUP.

    Args:
        codec, host, port, max_sessions, lookahead, tls, limits, proxies: see `running`.
        node, peers: see there, too.
        token: opens every role; `token_file` and the environment's XYT_TOKENS may hold more.
        token_file: holds one token a line, see access.py.
        origins: of web pages that may connect, beside this host's own; "*" for all.
        allow_anyone: whether to serve other machines without any token.
        duplex: package.module:Factory of a speech model that users talk with.
        log_level: "info", "warning" or "error".
        on_ready: called once it accepts connections; None: one line with the address is printed.

    Raises:
        ServeError: the address, the duplex model, the tokens or an origin cannot be used.
    """
    access = Access(all_tokens(token, token_file), origins)
    factory = None if duplex is None else load(duplex)
    log.to_stderr(log_level, node)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop: asyncio.Future[int] = loop.create_future()  # the signal's number

        def stop_by(number: int) -> None:
            if not stop.done():
                stop.set_result(number)

        # Under nohup, SIGHUP is ignored and stays so.
        signals = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
        for number in signals:
            loop.add_signal_handler(number, stop_by, number)
        async with running(
            codec,
            host=host,
            port=port,
            max_sessions=max_sessions,
            lookahead=lookahead,
            access=access,
            public=allow_anyone,
            tls=tls,
            limits=limits,
            proxies=proxies,
            duplex=factory,
            node=node,
            peers=peers,
        ) as server:
            (on_ready or _announce)(server)
            # Ctrl-C means this server and all beside it: there is no other place for its sessions.
            stays = await stop == signal.SIGINT
            if server.handover is not None:
                server.handover.stays = stays
            for number in signals:
                loop.remove_signal_handler(number)  # a second signal ends the process

    with suppress(KeyboardInterrupt):
        run_fast(main())


def _announce(server: Running) -> None:
    print(f"xyt-stream serves {server.name} at {server.url}", flush=True)


def _join(service: Service, peers: Peers) -> tuple[Handover, Cascade]:
    """Has a server exchange sessions and the streams of rooms with other nodes."""
    handover, cascade = Handover(service, peers), Cascade(service, peers)
    service.start_drain = handover.begin_drain
    service.readiness.shares_rooms = bool(peers.names)
    handover.giver.on_room_given = cascade.publisher.moved
    return handover, cascade


def _capacity(codec: Codec | None, lookahead: int) -> int:
    """Measures how many sessions this machine serves in real time; a relay needs no slots."""
    if codec is None:
        return 0
    # Not at the top: a relay runs without torch.
    from xyt_stream.server.engine.capacity import capacity

    return capacity(codec, lookahead=lookahead)
