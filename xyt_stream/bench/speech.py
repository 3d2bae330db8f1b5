"""Provides the sound that measured clients send, in real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from xyt_stream.audio import INPUT_RATE, Pcm16, read_audio, to_int16

BLOCK_SECONDS = 0.02  # s; sound cards deliver blocks of about this length
_BLOCK = round(BLOCK_SECONDS * INPUT_RATE)


def speech_or_noise(path: Path | None) -> Pcm16:
    """Reads a recording, int16 [samples] at 16 kHz; without a path, ten seconds of noise.

    Raises:
        AudioError: the file cannot be read.
    """
    if path is not None:
        return to_int16(read_audio(path)[0])
    return to_int16(np.random.default_rng(0).normal(0, 0.05, 10 * INPUT_RATE))


async def in_real_time(pcm: Pcm16, began: float) -> AsyncIterator[Pcm16]:
    """Yields blocks of BLOCK_SECONDS, each at the moment when a microphone would deliver it.

    Args:
        pcm: int16 [samples] at 16 kHz.
        began: time of the first sample, on the clock `time.monotonic`.
    """
    for start in range(0, len(pcm), _BLOCK):
        block = pcm[start : start + _BLOCK]
        due = began + (start + len(block)) / INPUT_RATE
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        yield block
