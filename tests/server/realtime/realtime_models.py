"""Duplex models for tests of the Realtime endpoint."""

from __future__ import annotations

import numpy as np


class Stubborn:
    """Speaks in every frame, and ignores its input."""

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


class KeepsPlayed(Stubborn):
    """Speaks ten frames, is silent for two, speaks ten; keeps the counts that `clear` gives."""

    played: list[int] = []  # noqa: RUF012 - of all conversations

    def open(self, session):
        self._frame = 0

    def step(self, codes):
        self._frame += 1
        return self._codes if self._frame <= 22 and self._frame not in (11, 12) else None

    def clear(self, played):
        self.played.append(played)


class Fails(Stubborn):
    def step(self, codes):
        raise RuntimeError("a bug in somebody's model")
