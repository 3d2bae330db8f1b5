"""Builds the parts of a server that its sessions share: engine, rooms, limits and metrics."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from xyt_stream.protocol.messages import Delay
from xyt_stream.server.admission.ahead import AheadTurns
from xyt_stream.server.admission.limits import Gate, Limits
from xyt_stream.server.admission.memory import MEGABYTE, Memory
from xyt_stream.server.admission.relayed import Relayed
from xyt_stream.server.duplex.models import Factory
from xyt_stream.server.duplex.runner import DuplexRunner
from xyt_stream.server.duplex.vad import load_network
from xyt_stream.server.engine.engine import Engine
from xyt_stream.server.engine.relay import RelayEngine
from xyt_stream.server.engine.silence import silence_of
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.metrics import Metrics
from xyt_stream.server.sessions.flush import Flush
from xyt_stream.server.sessions.resources import AnySession, Resources, model_of
from xyt_stream.server.sessions.rooms import Rooms

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec


def build_resources(
    codec: Codec | None,
    *,
    max_sessions: int,
    lookahead: int,
    limits: Limits,
    duplex: Factory | None,
    node: str,
    load: Callable[[], float],
    on_closed: Callable[[AnySession, str], None],
) -> Resources:
    """Builds the parts; the threads of the engine and of the model's runner do not run yet.

    Args:
        codec, max_sessions, lookahead, limits, duplex: see Service.
        node, load, on_closed: see Resources.

    Raises:
        ServeError: the duplex model cannot be made.
    """
    metrics = Metrics()
    engine: SlotEngine
    runner: DuplexRunner | None = None
    silence = np.zeros(0, np.int64)
    if codec is None:
        engine = RelayEngine()
    else:
        engine = Engine(codec, max_sessions, lookahead=lookahead, on_step=metrics.record_step)
        if duplex is not None:
            runner = _runner(duplex, codec, max_sessions, limits, metrics)
        silence = silence_of(codec)
    relayed = Relayed(limits.relayed)
    memory = Memory(round(limits.session_memory * MEGABYTE), round(limits.server_memory * MEGABYTE))
    metrics.gauge("xyt_sessions_relayed", "Sessions that carry codes only", lambda: relayed.count)
    metrics.gauge("xyt_slots", "Streams that fit", lambda: engine.slots)
    metrics.gauge("xyt_slots_free", "Free slots", lambda: engine.free_slots)
    metrics.gauge("xyt_load", "Share of real time that steps take", load)
    metrics.gauge("xyt_waiting_bytes", "Bytes that wait in sessions", lambda: memory.used)
    encode, decode = engine.delays
    return Resources(
        engine=engine,
        rooms=Rooms(engine, limits, silence, runner),
        gate=Gate(limits.address_sessions, limits.address_joins),
        relayed=relayed,
        ahead=AheadTurns(),
        limits=limits,
        memory=memory,
        flush=Flush(),
        metrics=metrics,
        node=node,
        model=model_of(engine.codec),
        delay=Delay(encode=encode * 1e3, decode=decode * 1e3),
        runner=runner,
        load=load,
        on_closed=on_closed,
    )


def _runner(
    factory: Factory, codec: Codec, max_sessions: int, limits: Limits, metrics: Metrics
) -> DuplexRunner:
    # Only such a server speaks the Realtime protocol; loaded now, so that no client waits.
    importlib.import_module("xyt_stream.server.realtime.session")
    load_network()
    return DuplexRunner(
        factory,
        codec,
        max(1, max_sessions // 2),  # each conversation holds two slots
        max_load=limits.load,
        on_step=metrics.duplex_step.observe,
        on_failure=metrics.duplex_failures.inc,
    )
