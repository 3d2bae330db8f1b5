"""Measures what HAProxy adds to a frame's way: the same load directly and through it, in turn."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from xyt_stream.audio import Pcm16
from xyt_stream.bench.load import Target, measure, own_server
from xyt_stream.bench.process_usage import process_of
from xyt_stream.errors import ServeError
from xyt_stream.server.admission.address import check_address
from xyt_stream.server.cluster.haproxy import config, program
from xyt_stream.server.cluster.process import Process

_HOST = "127.0.0.1"
_STOP_SECONDS = 30.0  # s until HAProxy must have ended
_ACCEPT_SECONDS = 10.0  # s until HAProxy must accept
_POLL = 0.05  # s between attempts


@dataclass(frozen=True)
class ProxyCost:
    """The result.

    Attributes:
        sessions: concurrent, each in real time.
        seconds: that each load took.
        direct_ms, proxy_ms: p50 and p99 of the turnaround of each load, in their order.
        frame_us: processor time of HAProxy for a frame to the server and back.
        lost_frames: over all loads.
    """

    sessions: int
    seconds: float
    direct_ms: list[tuple[float, float]]
    proxy_ms: list[tuple[float, float]]
    frame_us: float
    lost_frames: int

    def added_ms(self) -> tuple[float, float]:
        """Medians, over pairs of loads, of what the proxy adds to p50 and to p99."""
        added = np.subtract(self.proxy_ms, self.direct_ms)
        p50, p99 = np.median(added, axis=0)
        return float(p50), float(p99)

    def flat(self) -> dict[str, Any]:
        """Returns the figures for `--json`."""
        return {**asdict(self), "added_ms": self.added_ms()}

    def table(self) -> Table:
        """Returns the figures for the terminal."""
        loads = len(self.direct_ms)
        title = f"{self.sessions} sessions, {loads} times {self.seconds:g} s each way"
        table = Table("turnaround, ms", "p50", "p99", "p99 of each", title=title)
        for name, rows in (("direct", self.direct_ms), ("HAProxy", self.proxy_ms)):
            p50, p99 = np.median(rows, axis=0)
            table.add_row(name, f"{p50:.1f}", f"{p99:.1f}", " ".join(f"{b:.1f}" for _, b in rows))
        p50, p99 = self.added_ms()
        table.add_row("added, median of pairs", f"{p50:.1f}", f"{p99:.1f}", "")
        table.caption = f"HAProxy: {self.frame_us:.0f} us of a processor for a frame there and back"
        if self.lost_frames:
            table.caption += f"; {self.lost_frames} frames lost"
        return table


async def compare(pcm: Pcm16, *, sessions: int, seconds: float, loads: int) -> ProxyCost:
    """Loads a server of its own that computes nothing, in pairs whose order alternates.

    Args:
        pcm: int16 [samples] at 16 kHz.
        loads: each way.

    Raises:
        ServeError: HAProxy or the server does not start.
    """
    figures: dict[str, list[tuple[float, float]]] = {"direct": [], "proxy": []}
    lost, frames = 0, 0
    with own_server("none", slots=sessions) as server:
        async with _proxy(server.url.removeprefix("ws://")) as (url, process):
            haproxy = process_of(process.pid)
            ways = [("direct", server), ("proxy", Target(url, server.pid))]
            before = sum(haproxy.cpu_times()[:2])
            for number in range(loads):
                for name, target in ways if number % 2 == 0 else reversed(ways):
                    result = await asyncio.to_thread(
                        measure, target, pcm, sessions=sessions, seconds=seconds
                    )
                    turnaround = result.turnaround_ms
                    figures[name].append((turnaround["p50"], turnaround["p99"]))
                    lost += result.lost_frames
                    frames += result.frames * (name == "proxy")
            used = sum(haproxy.cpu_times()[:2]) - before
    return ProxyCost(
        sessions, seconds, figures["direct"], figures["proxy"], used / frames * 1e6, lost
    )


@contextlib.asynccontextmanager
async def _proxy(node: str) -> AsyncIterator[tuple[str, Process]]:
    """HAProxy before one node, as docs/deploy has it: its URL, and its process."""
    port = check_address(_HOST, 0)
    with tempfile.TemporaryDirectory(prefix="xyt-proxy-") as folder:
        path = Path(folder) / "haproxy.cfg"
        path.write_text(config(f"{_HOST}:{port}", {"node-1": node}))
        process = Process("HAProxy", [program(), "-db", "-f", str(path)])
        await process.start()
        try:
            try:
                await asyncio.wait_for(_accepts(port), _ACCEPT_SECONDS)
            except asyncio.TimeoutError:
                raise ServeError("HAProxy does not accept: see its messages above") from None
            yield f"ws://{_HOST}:{port}", process
        finally:
            await process.stop(_STOP_SECONDS)


async def _accepts(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(_HOST, port)
            writer.close()
            return
        await asyncio.sleep(_POLL)
