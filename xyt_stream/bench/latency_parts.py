"""Splits mouth-to-ear latency into its parts."""

from __future__ import annotations

import math
import re
import urllib.request
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from xyt_stream.bench.speech import BLOCK_SECONDS
from xyt_stream.evaluate.timing import Times, summary, timed, warm_up
from xyt_stream.protocol.messages import Ready
from xyt_stream.streaming.codec import Codec


class FrameTimes(NamedTuple):
    """The times of one frame whose sound arrived while the ear was playing, seconds.

    Attributes:
        capture: from its last sample's time until that sample was sent.
        turnaround: from then until its sound arrived, lookahead included.
        buffered: sound that was waiting in the jitter buffer then.
        device: what was still to be played of the block in the sound card then.
    """

    capture: float
    turnaround: float
    buffered: float
    device: float


@dataclass(frozen=True)
class ServerTotals:
    """Counters of a server: the steps, frames and seconds so far."""

    steps: int
    step_seconds: float
    frames: int
    turnaround_seconds: float

    def __sub__(self, other: ServerTotals) -> ServerTotals:
        return ServerTotals(
            self.steps - other.steps,
            self.step_seconds - other.step_seconds,
            self.frames - other.frames,
            self.turnaround_seconds - other.turnaround_seconds,
        )


def parts_ms(
    ready: Ready, frames: list[FrameTimes], server: ServerTotals, steps: tuple[Times, Times]
) -> dict[str, float]:
    """Splits the latency into its parts, ms, in the order of the way.

    A frame's turnaround holds the lookahead of encoder and decoder, for its sound cannot come
    before the frames ahead of it were sent. What is left of it beyond the server's own turnaround
    is the network.

    Args:
        frames: at least one.
        server: the server's counters during the run.
        steps: times of encoder and decoder alone; they divide the server's step in proportion.
    """
    capture, turnaround, buffered, device = 1e3 * np.mean(frames, axis=0)
    overlap = ready.delay_ms.decode % ready.frame_ms
    block = 1e3 * BLOCK_SECONDS
    ahead = ready.delay_ms.encode - ready.frame_ms  # it comes in whole blocks
    lookahead = math.ceil(ahead / block - 1e-9) * block + ready.delay_ms.decode - overlap
    step = 1e3 * server.step_seconds / server.steps
    in_server = 1e3 * server.turnaround_seconds / server.frames
    encode, decode = (times["median"] for times in steps)
    return {
        "frame": ready.frame_ms,
        "capture": float(capture),
        "lookahead": lookahead,
        "network": float(turnaround) - in_server - lookahead,
        "queue": in_server - step,
        "encode": step * encode / (encode + decode),
        "decode": step * decode / (encode + decode),
        "overlap-add": overlap,
        "jitter buffer": float(buffered),
        "device": float(device),
    }


def server_totals(url: str) -> ServerTotals:
    """Reads a server's counters from its /metrics page."""
    with urllib.request.urlopen(f"{url.replace('ws', 'http', 1)}/metrics", timeout=30) as page:
        text = page.read().decode()

    def counter(name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    return ServerTotals(
        int(counter("xyt_step_seconds_count")),
        counter("xyt_step_seconds_sum"),
        int(counter("xyt_frame_turnaround_seconds_count")),
        counter("xyt_frame_turnaround_seconds_sum"),
    )


def step_times(codec: Codec, *, steps: int = 50, lookahead: int = 0) -> tuple[Times, Times]:
    """Times steps of the encoder and of the decoder alone, on the codec's device."""
    encoder = codec.stream_encoder(lookahead=lookahead)
    decoder = codec.stream_decoder(lookahead=lookahead)
    noise = torch.randn(codec.frame_samples_in, generator=torch.Generator().manual_seed(0)) / 10
    encoding, decoding = [], []
    for _ in range(warm_up(lookahead) + steps):
        codes, seconds = timed(lambda: encoder.push(noise), codec.device)
        encoding.append(seconds)
        _, seconds = timed(partial(decoder.push, codes), codec.device)
        decoding.append(seconds)
    return summary(encoding[-steps:]), summary(decoding[-steps:])
