"""Loads a relay with many coded sessions in real time; finds the most that it passes on in time."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from threading import BrokenBarrierError
from typing import Any

import numpy as np
from rich.table import Table

from xyt_stream.bench.process_usage import process_of
from xyt_stream.bench.relay_clients import run_rooms
from xyt_stream.errors import ServeError

LATE = 0.020  # s; 99 of 100 frames must take less from the mic to a speaker
LATE_OVER_NODES = 0.080  # s; the same where relays share a room behind a proxy
_PROCESSES = 2  # of clients
OPTIONS = {  # of a relay whose clients all come from this machine
    "members": 1_000_000,
    "rooms": 1_000_000,
    "relayed": 0,
    "address-sessions": 0,
    "address-joins": 0,
    "address-handshakes": 0,
}


@dataclass(frozen=True)
class Relay:
    """Relays under load.

    Attributes:
        url: of the service.
        pids: processes of the relays.
        proxies: processes of the proxy before them; empty: there is none.
        settle: waits until the relays are ready for the first frame; all clients are there.
    """

    url: str
    pids: list[int]
    proxies: list[int] = field(default_factory=list)
    settle: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class RelayLoad:
    """The result of one load.

    Attributes:
        sessions: mics and speakers.
        speakers: in each room, beside one mic.
        seconds: that each mic spoke.
        frames: that should have arrived, over all speakers.
        lost_frames: that did not.
        delay_ms: p50, p99 and max from sending a frame until a speaker had it.
        messages_per_second: of media, in and out of the relay.
        nodes: relays.
        server_cpu: processors that the relays used.
        proxy_cpu: processors that the proxy before them used; None: there is none.
        message_us: processor time that a message to a speaker took, by where: relays, proxy,
            clients.
        clients_cpu: processors that its clients used.
        memory_kib: of the relay, for each session.
        errors: one line for each session that failed.
    """

    sessions: int
    speakers: int
    seconds: float
    frames: int
    lost_frames: int
    delay_ms: dict[str, float]
    messages_per_second: float
    nodes: int
    server_cpu: float
    proxy_cpu: float | None
    clients_cpu: float
    memory_kib: float
    message_us: dict[str, float]
    errors: list[str]

    @property
    def good(self) -> bool:
        """Whether no frame was lost and 99 of 100 arrived within LATE, or LATE_OVER_NODES."""
        late = LATE if self.nodes == 1 else LATE_OVER_NODES
        return not self.lost_frames and not self.errors and self.delay_ms["p99"] < late * 1e3

    @property
    def line(self) -> str:
        """One line for the progress of a search."""
        outcome = "within limits" if self.good else "too many"
        return (
            f"{self.sessions} sessions: {outcome}, p99 {self.delay_ms['p99']:.1f} ms, "
            f"{self.lost_frames} frames lost"
        )

    def flat(self) -> dict[str, Any]:
        """Returns the figures for `--json`."""
        return {**asdict(self), "good": self.good}

    def table(self) -> Table:
        """Returns the figures for the terminal."""
        title = f"{self.sessions} sessions, 1 mic and {self.speakers} in a room, {self.seconds:g} s"
        title += f", {self.nodes} relays" * (self.nodes > 1)
        table = Table(title=title, show_header=False)
        delays = ", ".join(f"{name} {ms:.1f}" for name, ms in self.delay_ms.items())
        table.add_row("mic to speaker, ms", delays)
        table.add_row("frames", f"{self.frames}, {self.lost_frames} lost")
        table.add_row("messages a second", f"{self.messages_per_second:,.0f}")
        table.add_row("relay, processors", f"{self.server_cpu:.2f}")
        if self.proxy_cpu is not None:
            table.add_row("HAProxy, processors", f"{self.proxy_cpu:.2f}")
        table.add_row("its clients, processors", f"{self.clients_cpu:.2f}")
        table.add_row("relay, memory of a session", f"{self.memory_kib:.0f} KiB")
        times = ", ".join(f"{name} {us:.0f}" for name, us in self.message_us.items())
        table.add_row("a message, us of a processor", times)
        for error in self.errors[:5]:
            table.add_row("error", error)
        return table


@contextlib.contextmanager
def own_relay(**limits: float) -> Iterator[Relay]:
    """Starts a relay in a process of its own and ends it on exit.

    Args:
        limits: other than those of a relay for this machine's clients.

    Raises:
        ServeError: it did not start.
    """
    options = [f"--{name}={value}" for name, value in {**OPTIONS, **limits}.items()]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "xyt_stream.cli", "serve", "--relay", "--port", "0"),
            *("--log-level", "error", *options),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"ws://\S+", process.stdout.readline())
        if found is None:
            raise ServeError("the relay did not start: see its messages above")
        yield Relay(found.group(), [process.pid])
    finally:
        process.kill()
        process.wait()


def measure(relay: Relay, *, rooms: int, speakers: int, seconds: float) -> RelayLoad:
    """Loads relays that were started for this; the clients run in other processes.

    Args:
        rooms: number of mics, each in a room of its own.
        speakers: in each room.
        seconds: that each mic speaks.

    Raises:
        ServeError: not one frame arrived.
    """
    context = multiprocessing.get_context("spawn")
    shares = [part for part in _shares(rooms) if part[1]]
    relays = _Processes(relay.pids)
    proxies = _Processes(relay.proxies)
    before = relays.memory()
    barrier = context.Barrier(len(shares) + 1)
    with ProcessPoolExecutor(
        len(shares), mp_context=context, initializer=_share, initargs=(barrier,)
    ) as pool:
        running = [
            pool.submit(_run, relay.url, first, count, speakers, seconds) for first, count in shares
        ]
        for each in running:  # a process that fails must not leave the others waiting
            each.add_done_callback(lambda done: barrier.abort() if done.exception() else None)
        with contextlib.suppress(BrokenBarrierError):
            barrier.wait()
            try:
                relay.settle()
            except ServeError:
                barrier.abort()
                raise
            began, cpu, proxy_cpu = time.monotonic(), relays.seconds(), proxies.seconds()
            memory = relays.memory() - before
            barrier.wait()
            barrier.wait()
            took = time.monotonic() - began
            cpu, proxy_cpu = relays.seconds() - cpu, proxies.seconds() - proxy_cpu
        results = [each.result() for each in running]
    delays = [delay for each in results for delay in each.delays]
    errors = [error for each in results for error in each.errors]
    if not delays:
        raise ServeError(f"not one frame arrived: {next(iter(errors), 'too few seconds')}")
    p50, p99, most = np.percentile(np.array(delays), (50, 99, 100)) * 1e3
    sessions = rooms * (1 + speakers)
    sent = sum(each.sent for each in results)
    clients_cpu = sum(each.cpu for each in results)
    used = {"relays": cpu, "proxy": proxy_cpu, "clients": clients_cpu}
    return RelayLoad(
        sessions=sessions,
        speakers=speakers,
        seconds=seconds,
        frames=sent,
        lost_frames=sent - len(delays),
        delay_ms={"p50": float(p50), "p99": float(p99), "max": float(most)},
        messages_per_second=(sent / speakers + len(delays)) / seconds,
        nodes=len(relay.pids),
        server_cpu=cpu / took,
        proxy_cpu=proxy_cpu / took if relay.proxies else None,
        clients_cpu=clients_cpu / took,
        memory_kib=memory / sessions / 1024,
        message_us={name: each / len(delays) * 1e6 for name, each in used.items() if each},
        errors=errors,
    )


class _Processes:
    """Measures processes together."""

    def __init__(self, pids: list[int]) -> None:
        self._processes = [process_of(pid) for pid in pids]

    def memory(self) -> int:
        """Bytes."""
        return sum(int(each.memory_info().rss) for each in self._processes)

    def seconds(self) -> float:
        """Processor time since they were started."""
        times = [each.cpu_times() for each in self._processes]
        return sum(float(each.user + each.system) for each in times)


_barrier: Any = None  # of a client's process


def _share(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _run(url: str, first: int, rooms: int, speakers: int, seconds: float) -> Any:
    def wait() -> None:
        _barrier.wait()

    return run_rooms(url, first, rooms, speakers, seconds, wait, ready=wait)


def _shares(rooms: int) -> list[tuple[int, int]]:
    """The rooms of each process of clients: the first one's number, and how many."""
    bounds = [rooms * number // _PROCESSES for number in range(_PROCESSES + 1)]
    return [(start, end - start) for start, end in itertools.pairwise(bounds)]
