"""Duplex models for tests of the Realtime endpoint."""

from __future__ import annotations

import numpy as np


class Stubborn:
    """Speaks in every frame, whatever it is told."""

    def __init__(self, codec):
        speech = np.random.default_rng(0).normal(0, 0.1, 12 * codec.frame_samples_in)
        self._codes = codec.encode(speech.astype(np.float32)).numpy()[:, -1]

    def open(self, session):
        pass

    def step(self, codes):
        return self._codes

    def close(self):
        pass


class Mute(Stubborn):
    """Never speaks."""

    def step(self, codes):
        return None


class Fails(Stubborn):
    def step(self, codes):
        raise RuntimeError("a bug in somebody's model")
