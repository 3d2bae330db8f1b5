"""Loads a server with many clients in real time, and measures the turnaround of their frames."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Any, TypedDict

import numpy as np
import torch
from rich.table import Table

from xyt_stream.audio import FRAME_SECONDS, Pcm16
from xyt_stream.bench.load_clients import Access, ClientResult, run_clients
from xyt_stream.bench.load_server import run_server
from xyt_stream.bench.process_usage import ProcessUsage
from xyt_stream.client.fingerprint import pinned
from xyt_stream.errors import ServeError

LATE = FRAME_SECONDS  # s; a frame with a longer turnaround is late
_PER_PROCESS = 16  # clients in one process, where there are processors for so many processes
_START_SECONDS = 120  # s until the server must have started


class Turnaround(TypedDict):
    """Percentiles over many frames, ms."""

    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True)
class LoadResult:
    """The result of one load.

    Attributes:
        sessions: concurrent sessions, each in real time.
        seconds: sound that each session sent.
        frames: frames that all sessions sent.
        lost_frames: frames whose sound never arrived; all frames of a session that failed.
        late_frames: frames whose turnaround was longer than LATE.
        turnaround_ms: from sending a frame's last sample until its decoded sound arrived.
        step_ms: median and p99 of the server's step, if it reports them.
        answer_ms: p50, p99 and max of the server's part of the turnaround, from reading a frame's
            last sample until its result is written. With `--model none`, the server's overhead.
        server_cpu: processors in use by a server started for this load.
        server_memory_mib: memory of the same server.
        errors: one line for each session that failed.
    """

    sessions: int
    seconds: float
    frames: int
    lost_frames: int
    late_frames: int
    turnaround_ms: Turnaround
    step_ms: dict[str, float] | None
    answer_ms: dict[str, float] | None
    server_cpu: float | None
    server_memory_mib: float | None
    errors: list[str]

    @property
    def good(self) -> bool:
        """Whether no frame was lost and 99 of 100 came back within LATE."""
        return self.lost_frames == 0 and self.turnaround_ms["p99"] < LATE * 1e3

    def flat(self) -> dict[str, Any]:
        """Returns the figures for `--json`."""
        return {**vars(self), "good": self.good}

    @property
    def line(self) -> str:
        """One line for the progress of a search."""
        outcome = "within limits" if self.good else "too many"
        if self.lost_frames:
            return f"{_count(self.sessions)}: {outcome}, {self.lost_frames} frames lost"
        return f"{_count(self.sessions)}: {outcome}, p99 {self.turnaround_ms['p99']:.0f} ms"

    def table(self) -> Table:
        """Returns the figures for the terminal."""
        table = Table(title=f"{_count(self.sessions)}, {self.seconds:g} s each", show_header=False)
        table.add_row("turnaround of a frame, ms", _listed({**self.turnaround_ms}))
        table.add_row("frames", f"{self.frames}, {self.lost_frames} lost, {self.late_frames} late")
        if self.answer_ms is not None:
            table.add_row("turnaround inside the server, ms", _listed(self.answer_ms))
        if self.step_ms is not None:
            table.add_row("server step, ms", _listed(self.step_ms))
        if self.server_cpu is not None:
            table.add_row("server, processors", f"{self.server_cpu:.2f}")
            table.add_row("server, memory", f"{self.server_memory_mib:.0f} MiB")
        for error in self.errors[:5]:
            table.add_row("error", error)
        return table


@dataclass(frozen=True)
class Target:
    """The server under load.

    Attributes:
        url: its ws:// or wss:// address.
        pid: its process, if it was started for this load.
        access: what it asks of its clients.
    """

    url: str
    pid: int | None = None
    access: Access = field(default_factory=Access)


@contextlib.contextmanager
def own_server(
    model: str | None,
    *,
    slots: int,
    device: str = "cpu",
    lookahead: int = 0,
    threads: int = 1,
    dtype: torch.dtype | None = None,
) -> Iterator[Target]:
    """Starts a server in a process of its own and ends it on exit.

    Args:
        model: as for `Codec.load`; "none" computes nothing, which leaves the server's own time.
        threads: threads that torch may use.
        dtype: of weights and activations; None: float32.

    Raises:
        ServeError: the server did not start.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    wanted = torch.float32 if dtype is None else dtype
    process = context.Process(
        target=run_server,
        args=(theirs, model, slots, device, lookahead, threads, wanted),
        daemon=True,
    )
    process.start()
    theirs.close()  # so that the pipe ends when the process does
    try:
        yield Target(_address(ours), process.pid)
        with contextlib.suppress(OSError):
            ours.send("stop")
        process.join(30)
    finally:
        process.kill()
        process.join()


def measure(target: Target, pcm: Pcm16, *, sessions: int, seconds: float) -> LoadResult:
    """Runs the clients in other processes and waits for them.

    Args:
        pcm: int16 [samples] at 16 kHz; each client sends it in a loop, from its own offset.

    Raises:
        ServeError: not one frame came back.
    """
    context = multiprocessing.get_context("spawn")
    count = max(_PER_PROCESS, -(-sessions // max(4, os.cpu_count() or 1)))
    shares = [min(count, sessions - first) for first in range(0, sessions, count)]
    with ProcessPoolExecutor(len(shares), mp_context=context) as pool:
        # Starting a process takes seconds of processor time, which must not be measured.
        list(pool.map(abs, range(len(shares))))
        usage = ProcessUsage(target.pid) if target.pid is not None else None
        running = [
            pool.submit(run_clients, target.url, target.access, share, number, pcm, seconds)
            for number, share in enumerate(shares)
        ]
        results = [each for future in running for each in future.result()]
        cpu, memory = usage.until_now() if usage else (None, None)
    if not any(each.received for each in results):
        why = next((each.error for each in results if each.error), "too few seconds, perhaps")
        raise ServeError(f"not one frame came back from {target.url}: {why}")
    answer_ms = None
    with contextlib.suppress(OSError, ValueError):  # a server may not serve this page
        answer_ms = info(target).get("answer_ms")
    return _sum_up(results, seconds, answer_ms, cpu, memory)


def info(target: Target) -> dict[str, Any]:
    """Fetches the server's /info page."""
    page = target.url.replace("ws", "http", 1).rstrip("/") + "/info"
    token, fingerprint = target.access.token, target.access.fingerprint
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(page, headers=headers)
    tls = None if fingerprint is None else pinned(fingerprint)
    with urllib.request.urlopen(request, timeout=10, context=tls) as answer:
        page_content: dict[str, Any] = json.load(answer)
    return page_content


def _sum_up(
    results: list[ClientResult],
    seconds: float,
    answer_ms: dict[str, float] | None,
    cpu: float | None,
    memory: float | None,
) -> LoadResult:
    turnaround = np.concatenate([np.zeros(0), *(each.turnaround for each in results)])
    late = int((turnaround > LATE).sum())
    p50, p95, p99, most = np.percentile(turnaround, (50, 95, 99, 100)) * 1e3
    steps = [each.step_ms for each in results if each.step_ms is not None]
    return LoadResult(
        sessions=len(results),
        seconds=seconds,
        frames=sum(each.sent for each in results),
        lost_frames=sum(each.sent - each.received for each in results),
        late_frames=late,
        turnaround_ms={"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(most)},
        step_ms=steps[-1] if steps else None,
        answer_ms=answer_ms,
        server_cpu=cpu,
        server_memory_mib=memory,
        errors=[each.error for each in results if each.error is not None],
    )


def _count(sessions: int) -> str:
    return f"{sessions} session{'s' * (sessions != 1)}"


def _listed(figures: dict[str, Any]) -> str:
    return ", ".join(f"{name} {ms:.1f}" for name, ms in figures.items())


def _address(pipe: Pipe) -> str:
    try:
        if pipe.poll(_START_SECONDS):
            return str(pipe.recv())
    except EOFError:
        pass
    raise ServeError("the server did not start: see its messages above")
