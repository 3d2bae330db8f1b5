"""Runs the server that `bench attack` attacks, in a process of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from xyt_stream.bench.process_usage import process_of
from xyt_stream.errors import ServeError
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import Running, running
from xyt_stream.server.duplex.parrot import Parrot
from xyt_stream.server.engine.capacity import capacity
from xyt_stream.server.event_loop import run_fast
from xyt_stream.streaming.codec import Codec

_START_SECONDS = 120  # s until the server must have started
_SLOTS = 16  # at most; fewer where the machine serves fewer in real time
_RESUME_SECONDS = 3


@dataclass(frozen=True)
class AttackedServer:
    """A server in another process.

    Attributes:
        port: that it listens on.
        slots: streams at once, as many as `--max-sessions 0` takes here, but no more than _SLOTS.
    """

    port: int
    slots: int
    _process: BaseProcess
    _pipe: Pipe

    @property
    def memory_mib(self) -> float:
        """Memory of its process, MiB."""
        assert self._process.pid is not None
        return float(process_of(self._process.pid).memory_info().rss) / 2**20

    @property
    def held(self) -> int:
        """All that it holds for clients, added up, see `_held`: 0 without them."""
        self._pipe.send("held")
        count: int = self._pipe.recv()
        return count


@contextmanager
def attacked_server(model: str | None) -> Iterator[AttackedServer]:
    """Starts a server and ends it on exit.

    Args:
        model: as for `Codec.load`.

    Raises:
        ServeError: the server did not start.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, model), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_START_SECONDS):
            raise ServeError("the server did not start: see its messages above")
        port, slots = ours.recv()
        yield AttackedServer(port, slots, process, ours)
        ours.send("stop")
        process.join(30)
    finally:
        process.kill()
        process.join()


def _serve(pipe: Pipe, model: str | None) -> None:
    """Sends the server's port and slots through the pipe, and answers until asked to stop."""
    torch.set_num_threads(1)
    run_fast(_serving(pipe, Codec.load(model)))


async def _serving(pipe: Pipe, codec: Codec) -> None:
    # Whatever the machine does beside, no session is shed for it. And what attackers leave to be
    # resumed is gone before it is counted.
    limits = Limits(load=0, resume_time=_RESUME_SECONDS)
    slots = min(_SLOTS, capacity(codec))
    async with running(codec, max_sessions=slots, duplex=Parrot, limits=limits) as server:
        idle: int | None = None  # once all else is given back: the first client opens some for good
        pipe.send((server.port, slots))
        while await asyncio.to_thread(pipe.recv) != "stop":
            held, opened = _held(server), _open_files_and_threads()
            idle = opened if idle is None and not held else idle
            pipe.send(held + (0 if idle is None else max(0, opened - idle)))


def _held(server: Running) -> int:
    """Sessions, connections, slots, rooms, counts of addresses, and bytes that wait."""
    service, engine = server.service, server.engine
    return (
        service.session_count
        + service.handshakes.connections
        + (engine.slots - engine.free_slots)
        + len(service.rooms)
        + service.gate.count
        + service.memory.used
    )


def _open_files_and_threads() -> int:
    """Open descriptors, on Linux, and threads, without those of pools: they stay for later work."""
    folder = Path("/proc/self/fd")
    files = len(list(folder.iterdir())) if folder.exists() else 0
    names = [thread.name for thread in threading.enumerate()]
    return files + sum(not name.startswith(("asyncio_", "uvloop_")) for name in names)
