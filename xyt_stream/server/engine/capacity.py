"""How many sessions this machine carries in real time."""

from __future__ import annotations

import statistics
import time

import torch

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.streaming.codec import Codec

HEADROOM = 0.5  # of real time that a full step may take: who has just missed one waits for the next
MOST = 256
_STEPS = 5  # timed, after one that is not


def capacity(codec: Codec, *, lookahead: int = 0) -> int:
    """Streams whose steps, encoding and decoding, take at most HEADROOM of real time; or 1."""
    budget = FRAME_SECONDS * HEADROOM
    slots, seconds = 1, _step_seconds(codec, 1, lookahead)
    while slots < MOST:
        twice = _step_seconds(codec, 2 * slots, lookahead)
        if twice > budget:
            more = (budget - seconds) / max(twice - seconds, 1e-9)
            return slots + max(0, int(slots * more))
        slots, seconds = 2 * slots, twice
    return slots


def _step_seconds(codec: Codec, slots: int, lookahead: int) -> float:
    """What one step of so many streams takes."""
    encoder = codec.stream_encoder(slots, lookahead=lookahead)
    decoder = codec.stream_decoder(slots, lookahead=lookahead)
    device = codec.device
    active = torch.ones(slots, dtype=torch.bool, device=device)
    pcm = torch.zeros(slots, codec.frame_samples_in, device=device)
    taken = []
    for _ in range(1 + _STEPS):
        started = time.perf_counter()
        decoder.step(encoder.step(pcm, active), active).cpu()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])
