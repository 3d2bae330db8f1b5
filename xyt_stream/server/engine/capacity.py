"""Measures the number of sessions that this machine serves in real time."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.server.engine.device_rows import picks_rows
from xyt_stream.streaming.codec import Codec

# Share of real time for a full step. A frame that just misses one waits for two, which is 56 ms: 99
# of 100 frames are to be back within 60, with all slots taken, too (docs/security.md).
HEADROOM = 0.35
MOST = 256
_STEPS = 9  # timed steps, after one that is not timed


def capacity(codec: Codec, *, lookahead: int = 0) -> int:
    """The most streams whose common step takes at most HEADROOM of real time; at least 1."""
    budget = FRAME_SECONDS * HEADROOM
    slots, seconds = 1, _step_seconds(codec, 1, lookahead)
    while slots < MOST:
        doubled = _step_seconds(codec, 2 * slots, lookahead)
        if doubled > budget:
            share = (budget - seconds) / max(doubled - seconds, 1e-9)
            return slots + max(0, int(slots * share))
        slots, seconds = 2 * slots, doubled
    return slots


def _step_seconds(
    codec: Codec,
    slots: int,
    lookahead: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds that a step of so many streams takes, encoding and decoding; one of nine is longer.

    Late frames come from the slow steps, which a median would not show.
    """
    encoder = codec.stream_encoder(slots, lookahead=lookahead)
    decoder = codec.stream_decoder(slots, lookahead=lookahead)
    device = codec.device
    active = torch.ones(slots, dtype=torch.bool, device=device)
    chosen = torch.arange(slots) if picks_rows(codec) else None
    pcm = torch.zeros(slots, codec.frame_samples_in, device=device)
    taken = []
    for _ in range(1 + _STEPS):
        started = clock()
        decoder.step(encoder.step(pcm, active, chosen), active, chosen).cpu()
        taken.append(clock() - started)
    return sorted(taken[1:])[-2]
