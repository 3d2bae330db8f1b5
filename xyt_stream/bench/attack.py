"""Attacks a server of its own while a neighbour speaks, and measures what that costs it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from rich.table import Table

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE, Pcm16, to_float32
from xyt_stream.bench import attacks
from xyt_stream.bench.attack_target import AttackedServer, attacked_server
from xyt_stream.bench.speech import in_real_time
from xyt_stream.client import Connection, connect
from xyt_stream.client.report import Latency
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.streaming.codec import Codec

_SETTLE_SECONDS = 10.0  # s after an attack in which memory must come back
_MORE = 1.05  # times the memory before all attacks that the server may keep
HEAD_START = 1.2  # s that the neighbour speaks before an attack; its first second is its own
_HEAD_FRAMES = round(HEAD_START * INPUT_RATE) // FRAME_SAMPLES
_NICE = 10  # of the attackers' process: in truth they have a processor of their own


@dataclass(frozen=True)
class Cost:
    """Holds the neighbour's figures during one attack.

    Attributes:
        attack: its name.
        p99_ms, max_ms: turnaround of the neighbour's frames.
        lost: whole frames of its that did not come back.
        same_codes: whether its codes equal those of an unbroken run.
        memory_mib: of the server, at most ten seconds afterwards.
        left: sessions, connections, slots, rooms, counts of addresses, descriptors, threads and
            bytes that the server then held for the attackers.
        slots: streams that it takes.
        result: how the attack's connections ended; empty: there was no attack.
    """

    attack: str
    p99_ms: float
    max_ms: float
    lost: int
    same_codes: bool
    memory_mib: float
    left: int
    slots: int
    result: str

    @property
    def line(self) -> str:
        """The figures of most interest, for the terminal."""
        return f"{self.attack}: p99 {self.p99_ms:.0f} ms" + (self.result and f", {self.result}")


def measure(
    model: str | None,
    pcm: Pcm16,
    *,
    connections: int,
    slow: bool,
    only: Sequence[str],
    on_cost: Callable[[Cost], None],
) -> list[Cost]:
    """Runs attacks, one after the other; the first row is without any.

    Args:
        model: as for `Codec.load`.
        pcm: the neighbour's sound in each of them, int16 [samples] at 16 kHz; the attack begins
            after HEAD_START seconds of it, and figures are of the frames from there on.
        connections: of each attack at once, each from another address.
        slow: whether the attacks pause between their pieces.
        only: names of the attacks to run; empty: all of them.
        on_cost: called after each.

    Raises:
        ServeError: the server did not start.
    """
    codes = _unbroken(Codec.load(model), pcm)
    chosen = [attack for attack in attacks.ATTACKS if not only or name_of(attack) in only]
    costs: list[Cost] = []
    context = multiprocessing.get_context("spawn")
    with attacked_server(model) as server, ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(os.nice, _NICE).result()  # starting a process is not part of an attack
        for attack in (None, *chosen):
            begin = partial(pool.submit, _attack, attack, server.port, connections, slow)
            heard, turnaround, running = asyncio.run(_neighbour(server.port, pcm, begin))
            result = running.result()
            memory, left = _settled(server, costs[0].memory_mib if costs else None)
            p99, most = np.percentile(turnaround[_HEAD_FRAMES:] or [np.nan], (99, 100)) * 1e3
            cost = Cost(
                attack="none" if attack is None else name_of(attack),
                p99_ms=float(p99),
                max_ms=float(most),
                lost=len(pcm) // FRAME_SAMPLES - len(turnaround),
                same_codes=np.array_equal(heard, codes),
                memory_mib=memory,
                left=left,
                slots=server.slots,
                result=result,
            )
            costs.append(cost)
            on_cost(cost)
    return costs


def name_of(attack: attacks.Attack) -> str:
    """The name of an attack in the table."""
    return str(attack.__name__).replace("_", " ")


def _settled(server: AttackedServer, before: float | None) -> tuple[float, int]:
    """Memory and what is held, once both are as before the attacks, or after ten seconds."""
    end = time.monotonic() + _SETTLE_SECONDS
    while True:
        memory, left = server.memory_mib, server.held
        if (before is None or memory < _MORE * before) and not left:
            return memory, left
        if time.monotonic() > end:
            return memory, left
        time.sleep(0.1)


def table(costs: list[Cost]) -> Table:
    """The costs, for the terminal."""
    title = f"attacks on a server of {costs[0].slots} slots, and what they cost a neighbour"
    found = Table(title=title)
    for name in ("attack", "p99, ms", "max, ms", "lost", "codes", "memory, MiB", "left", "result"):
        found.add_column(name)
    for cost in costs:
        found.add_row(
            cost.attack,
            f"{cost.p99_ms:.0f}",
            f"{cost.max_ms:.0f}",
            str(cost.lost),
            "same" if cost.same_codes else "differ",
            f"{cost.memory_mib:.0f}",
            str(cost.left),
            cost.result,
        )
    return found


def flat(costs: list[Cost]) -> dict[str, Any]:
    """The same for `--json`."""
    return {cost.attack: vars(cost) for cost in costs}


def _unbroken(codec: Codec, pcm: Pcm16) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The codes of the sound in a stream of its own, int64 [codebooks, frames]."""
    encoder = codec.stream_encoder()
    frames = [
        encoder.push(to_float32(pcm[start : start + FRAME_SAMPLES]))
        for start in range(0, len(pcm), FRAME_SAMPLES)
    ]
    return np.concatenate([*frames, encoder.flush()], axis=1)


def _attack(attack: attacks.Attack | None, port: int, connections: int, slow: bool) -> str:
    if attack is None:
        return ""
    return asyncio.run(attacks.run(attack, port, connections, slow=slow))


async def _neighbour(
    port: int, pcm: Pcm16, begin: Callable[[], Future[str]]
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[float], Future[str]]:
    """Speaks in real time; returns its codes, the turnaround of its frames in seconds, the attack.

    Args:
        begin: called once the client has spoken for a while, to start the attack.
    """
    codes, url = [np.zeros((8, 0), np.int64)], f"ws://127.0.0.1:{port}"
    async with connect(url, "loopback", receive=("pcm", "codes")) as connection:
        latency = Latency(connection.ready.frame_samples)
        sending = asyncio.create_task(_speak(connection, pcm, latency, begin))
        async for event in connection:
            if isinstance(event, Pcm):
                latency.arrived(event.frame)
            elif isinstance(event, Codes):
                codes.append(event.codes)
        running = await sending
    return np.concatenate(codes, axis=1), list(latency.values), running


async def _speak(
    connection: Connection, pcm: Pcm16, latency: Latency, begin: Callable[[], Future[str]]
) -> Future[str]:
    said = 0
    running: Future[str] | None = None
    async for block in in_real_time(pcm, time.monotonic()):
        latency.sent(len(block))
        await connection.send_pcm(block)
        said += len(block)
        if said == _HEAD_FRAMES * FRAME_SAMPLES:
            running = begin()
    await connection.end()
    return running or begin()  # no head start in sound that is shorter
