"""Attacks a server of its own while a neighbour speaks, and measures what that costs it."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

import numpy as np
import torch
from rich.table import Table

from xyt_stream.audio import FRAME_SAMPLES, Pcm16, to_float32
from xyt_stream.bench import attacks
from xyt_stream.bench.load import process_of
from xyt_stream.bench.speech import in_real_time
from xyt_stream.client import Connection, connect
from xyt_stream.client.report import Latency
from xyt_stream.errors import ServeError
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import run_fast, running
from xyt_stream.server.duplex.parrot import Parrot
from xyt_stream.streaming.codec import Codec

_START_SECONDS = 120  # s until the server must have started
_SLOTS = 16


@dataclass(frozen=True)
class Cost:
    """What one attack cost the neighbour.

    Attributes:
        attack: its name.
        p99_ms, max_ms: turnaround of the neighbour's frames.
        lost: frames of its that did not come back.
        same_codes: whether its codes equal those of an unbroken run.
        memory_mib: of the server afterwards.
        result: how the attack's connections ended.
    """

    attack: str
    p99_ms: float
    max_ms: float
    lost: int
    same_codes: bool
    memory_mib: float
    result: str


def measure(
    model: str | None, pcm: Pcm16, *, connections: int, on_cost: Callable[[Cost], None]
) -> list[Cost]:
    """Runs all attacks, one after the other; the first row is without any.

    Args:
        model: as for `Codec.load`.
        pcm: the neighbour's sound in each of them, int16 [samples] at 16 kHz.
        connections: of each attack at once.
        on_cost: called after each.

    Raises:
        ServeError: the server did not start.
    """
    codes = _unbroken(Codec.load(model), pcm)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, model), daemon=True)
    process.start()
    theirs.close()
    costs = []
    try:
        if not ours.poll(_START_SECONDS):
            raise ServeError("the server did not start: see its messages above")
        port, pid = ours.recv(), process.pid
        assert pid is not None
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            pool.submit(abs, 0).result()  # starting a process is not part of an attack
            for attack in (None, *attacks.ATTACKS):
                running_attack = (
                    None if attack is None else pool.submit(_attack, attack, port, connections)
                )
                heard, turnaround = asyncio.run(_neighbour(port, pcm))
                result = "" if running_attack is None else running_attack.result()
                p99, most = np.percentile(turnaround or [np.nan], (99, 100)) * 1e3
                cost = Cost(
                    attack="none" if attack is None else attack.__name__.replace("_", " "),
                    p99_ms=float(p99),
                    max_ms=float(most),
                    lost=codes.shape[1] - len(turnaround),
                    same_codes=np.array_equal(heard, codes),
                    memory_mib=process_of(pid).memory_info().rss / 2**20,
                    result=result,
                )
                costs.append(cost)
                on_cost(cost)
        ours.send("stop")
        process.join(30)
    finally:
        process.kill()
        process.join()
    return costs


def table(costs: list[Cost]) -> Table:
    """The costs, for the terminal."""
    found = Table(title="attacks, and what they cost a neighbour")
    for name in ("attack", "p99, ms", "max, ms", "lost", "codes", "memory, MiB", "result"):
        found.add_column(name)
    for cost in costs:
        found.add_row(
            cost.attack,
            f"{cost.p99_ms:.0f}",
            f"{cost.max_ms:.0f}",
            str(cost.lost),
            "same" if cost.same_codes else "differ",
            f"{cost.memory_mib:.0f}",
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


def _serve(pipe: Pipe, model: str | None) -> None:
    """Sends the server's port through the pipe and serves until a message comes back."""
    torch.set_num_threads(1)
    run_fast(_serving(pipe, Codec.load(model)))


async def _serving(pipe: Pipe, codec: Codec) -> None:
    limits = Limits(load=0)  # whatever the machine does beside: no session is shed for it
    async with running(codec, max_sessions=_SLOTS, duplex=Parrot, limits=limits) as server:
        pipe.send(server.port)
        await asyncio.to_thread(pipe.recv)


def _attack(attack: attacks.Attack, port: int, connections: int) -> str:
    return asyncio.run(attacks.run(attack, port, connections))


async def _neighbour(
    port: int, pcm: Pcm16
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[float]]:
    """The codes that a client in real time gets, and the turnaround of its frames in seconds."""
    codes, url = [np.zeros((8, 0), np.int64)], f"ws://127.0.0.1:{port}"
    async with connect(url, "loopback", receive=("pcm", "codes")) as connection:
        latency = Latency(connection.ready.frame_samples)
        sending = asyncio.create_task(_speak(connection, pcm, latency))
        async for event in connection:
            if isinstance(event, Pcm):
                latency.arrived(event.frame)
            elif isinstance(event, Codes):
                codes.append(event.codes)
        await sending
    return np.concatenate(codes, axis=1), list(latency.values)


async def _speak(connection: Connection, pcm: Pcm16, latency: Latency) -> None:
    async for block in in_real_time(pcm, time.monotonic()):
        latency.sent(len(block))
        await connection.send_pcm(block)
    await connection.end()
