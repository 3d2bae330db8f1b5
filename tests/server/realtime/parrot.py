"""A duplex model for tests: repeats a turn in codes, once it is over."""

from __future__ import annotations

from typing import ClassVar

import numpy as np


class Parrot:
    """A turn is what is louder than a whisper, with up to half a second of quiet in it."""

    turns: ClassVar[list[int]] = []  # frames of the turns it began to repeat
    played: ClassVar[list[int]] = []  # what `clear` told it
    _QUIET = 6  # frames

    def __init__(self, codec):
        self._codec = codec

    def open(self, session):
        self._decoder = self._codec.stream_decoder()
        self._turn, self._queue, self._quiet = [], [], 0

    def step(self, codes):
        sound = np.asarray(self._decoder.push(codes[:, None]))
        loud = np.sqrt(np.mean(np.square(sound))) > 0.003
        self._quiet = 0 if loud else self._quiet + 1
        if loud or self._turn:
            self._turn.append(codes)
        if self._turn and self._quiet >= self._QUIET:
            self._queue = self._turn[: -self._QUIET]
            self._turn = []
            Parrot.turns.append(len(self._queue))
        return self._queue.pop(0) if self._queue else None

    def clear(self, played):
        Parrot.played.append(played)
        self._queue = []

    def close(self):
        pass


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
