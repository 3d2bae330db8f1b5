"""Slots of small frames, and their steps, for tests without any device."""

from __future__ import annotations

import numpy as np

from xyt_stream.server.engine.slots import Slots

COUNT = 6


def make(encoder_lead=0, decoder_lead=0, count=COUNT, most_rows=None):
    return Slots(
        count,
        frame_samples=4,
        codebooks=2,
        encoder_lead=encoder_lead,
        decoder_lead=decoder_lead,
        most_rows=most_rows or count,
    )


def take(slots, now=1e9):
    """A step, by default at a time when every frame is due."""
    pcm, codes = np.zeros((slots.count, 4), np.float32), np.zeros((slots.count, 2), np.int64)
    return slots.take(pcm, codes, now), pcm, codes


def sound(value):
    return np.full(4, value, np.float32)


def stepped(slots, now):
    """The slots of which a step at a time takes a frame."""
    work = take(slots, now)[0]
    return set(work.slots[work.stepped].tolist())
