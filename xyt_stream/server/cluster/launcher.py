"""Starts HAProxy and nodes on this machine, starts nodes again that end, and drains all."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from xyt_stream.errors import ServeError
from xyt_stream.server.admission.address import check_address, hosts_of
from xyt_stream.server.cluster.haproxy import config, program
from xyt_stream.server.cluster.process import Process
from xyt_stream.server.tasks import until_one_ends

_HOST = "127.0.0.1"  # of nodes
_RESTART_WAIT = 0.5  # seconds before a node that has ended is started again
_POLL = 0.05  # seconds between looks at whether HAProxy accepts
_DRAIN_TIME = "20"  # seconds, as an option of a node; the nodes' options may say another
_STOP_TIMEOUT = 60.0  # seconds that a program has to end; nodes drain


class Cluster:
    """HAProxy and nodes on this machine. Runs on one event loop.

    Args:
        count: number of nodes.
        host, port: that HAProxy listens on; port 0 picks a free one.
        options: of `xyt-stream serve` for each node.
        folder: for the configuration.

    Attributes:
        url: of the service.
        nodes: by name.
    """

    def __init__(
        self, count: int, host: str, port: int, options: Sequence[str], folder: Path
    ) -> None:
        haproxy = program()
        port = check_address(host, port)
        self._host, self._port = hosts_of(host)[0], port
        self.url = f"ws://{f'[{host}]' if ':' in host else host}:{port}"
        ports: dict[str, int] = {}
        while len(ports) < count:
            free = check_address(_HOST, 0)
            if free not in (port, *ports.values()):
                ports[f"node-{len(ports) + 1}"] = free
        bind = ",".join(f"{each}:{port}" for each in hosts_of(host))
        self._config = folder / "haproxy.cfg"
        self._config.write_text(
            config(bind, {name: f"{_HOST}:{port}" for name, port in ports.items()})
        )
        secret = folder / "secret"
        secret.touch(0o600)
        secret.write_text(secrets.token_hex(32))
        self._urls = {name: f"http://{_HOST}:{port}" for name, port in ports.items()}
        peers = [f"--peers={name}={url}" for name, url in self._urls.items()]
        env = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        self.nodes = {
            name: Process(
                name,
                [
                    *(sys.executable, "-m", "xyt_stream.cli", "serve"),
                    *("--host", _HOST, "--port", str(port), "--node", name, "--proxy", _HOST),
                    *(*peers, "--peer-secret", str(secret), "--drain-time", _DRAIN_TIME),
                    *options,
                ],
                env,
            )
            for name, port in ports.items()
        }
        # -q has HAProxy print only errors of its start: this class reports nodes that go and come.
        self._proxy = Process("HAProxy", [haproxy, "-q", "-db", "-f", str(self._config)])

    async def start(self) -> None:
        """Starts all nodes, then HAProxy.

        Raises:
            ServeError: one of them cannot start.
        """
        await asyncio.gather(*(node.start(" serves ") for node in self.nodes.values()))
        await self._proxy.start()
        await self._accepts()

    async def _accepts(self) -> None:
        """Waits until HAProxy accepts connections, or has ended."""
        ended = asyncio.create_task(self._watch_proxy())
        try:
            while not ended.done():
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(self._host, self._port)
                    writer.close()
                    return
                await asyncio.wait({ended}, timeout=_POLL)
            ended.result()
        finally:
            ended.cancel()

    async def run(self) -> None:
        """Starts nodes again that end, until it is cancelled.

        Raises:
            ServeError: HAProxy has ended, or a node does not start any more.
        """
        await until_one_ends(*map(self._keep, self.nodes.values()), self._watch_proxy())

    def line(self, node: Process) -> str:
        """Tells that a node runs, and where."""
        return f"{node.name} runs at {self._urls[node.name]}, process {node.pid}"

    async def stop(self) -> None:
        """Drains all nodes, none of which takes another's sessions, then ends HAProxy."""
        await asyncio.gather(
            *(node.stop(_STOP_TIMEOUT, signal.SIGINT) for node in self.nodes.values())
        )
        await self._proxy.stop(_STOP_TIMEOUT)

    async def _keep(self, node: Process) -> None:
        while True:
            status = await node.wait()
            print(f"{node.name} has ended with status {status}: it is started again", flush=True)
            await asyncio.sleep(_RESTART_WAIT)
            await node.start(" serves ")
            print(self.line(node), flush=True)

    async def _watch_proxy(self) -> None:
        status = await self._proxy.wait()
        raise ServeError(f"HAProxy has ended with status {status}, see above")


def serve_cluster(count: int, *, host: str, port: int, options: Sequence[str]) -> None:
    """Serves until SIGINT, SIGTERM or SIGHUP; prints the address once all nodes accept clients.

    Args:
        count, host, port, options: see Cluster.

    Raises:
        ServeError: HAProxy or a node cannot start.
    """

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xyt-cluster-"))
            cluster = Cluster(count, host, port, options, Path(folder))
            stack.push_async_callback(cluster.stop)
            stopped = asyncio.create_task(stop.wait())
            starting = asyncio.create_task(cluster.start())
            await asyncio.wait({stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                starting.cancel()
                return
            starting.result()
            for node in cluster.nodes.values():
                print(cluster.line(node), flush=True)
            print(f"xyt-stream serves {count} nodes at {cluster.url}", flush=True)
            running = asyncio.create_task(cluster.run())
            await asyncio.wait({stopped, running}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            print("draining", flush=True)

    asyncio.run(main())
