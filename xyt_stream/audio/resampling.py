"""Resamples whole clips and streams."""

from __future__ import annotations

import collections
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from xyt_stream.audio.samples import Samples, fit_length, scaled_length


def resample(samples: Samples, rate_in: int, rate_out: int) -> Samples:
    """A whole clip at another rate: [n] -> [scaled_length(n, rate_in, rate_out)]."""
    if rate_in == rate_out:
        return samples
    import soxr

    resampled = soxr.resample(samples, rate_in, rate_out)
    return fit_length(resampled, scaled_length(len(samples), rate_in, rate_out))


_BLOCK = 2.0  # seconds
_HALVINGS = 16
_KEPT = 0.5  # seconds of input after which soxr's filters have forgotten all before


class _Resampler:
    """Resamples a stream in chunks of any size; the result does not depend on their sizes.

    The results of `push` and `flush`, joined, are `scaled_length(n, rate_in, rate_out)` samples for
    n pushed. At equal rates they are the input.

    Args:
        rate_in: Hz of the input.
        rate_out: Hz of the output.

    Attributes:
        taken, given: samples so far, in and out.
    """

    _variable_rate: bool

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.rate_in = rate_in
        self.rate_out = rate_out
        self.taken = 0
        self.given = 0
        self._stream = self._open() if rate_in != rate_out else None

    def _open(self) -> Any:
        """A fresh engine."""
        import soxr  # not at the top: a relay resamples nothing

        return soxr.ResampleStream(
            self.rate_in, self.rate_out, 1, dtype="float32", quality="HQ", vr=self._variable_rate
        )

    def push(self, samples: Samples) -> Samples:
        """Take float32 [n] at `rate_in`; returns float32 [ready] at `rate_out`, maybe none yet."""
        self.taken += len(samples)
        if self._stream is None:
            self.given += len(samples)
            return samples
        return self._give(self._run(samples))

    def flush(self) -> Samples:
        """End the stream; returns the rest of its samples. Push nothing afterwards."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        # The variable-rate engine ends up to three samples early: silence pushes the last ones out.
        silence = np.zeros(self.rate_in // 100 + 1 if self._variable_rate else 0, np.float32)
        rest = self._give(self._run(silence, last=True))
        return np.concatenate([rest, self._give(np.zeros(self._left, np.float32))])

    def _run(self, samples: Samples, *, last: bool = False) -> Samples:
        """The engine's output for some input."""
        assert self._stream is not None
        made: Samples = self._stream.resample_chunk(samples, last=last)
        return made

    @property
    def _left(self) -> int:
        return scaled_length(self.taken, self.rate_in, self.rate_out) - self.given

    def _give(self, ready: Samples) -> Samples:
        ready = ready[: self._left]
        self.given += len(ready)
        return ready


@dataclass(frozen=True)
class ResamplerState:
    """A StreamResampler's memory: another one that gets it goes on to the bit.

    Attributes:
        taken, given: samples so far, in and out.
        history: the latest input, float32 [n], which ends at `taken`.
    """

    taken: int
    given: int
    history: Samples


class StreamResampler(_Resampler):
    """Resamples live sound with little lag, within 0.25 ms of `resample` of the whole.

    It is soxr's variable-rate engine, at a fixed rate: its lag is 8 to 15 ms (30 ms up from
    8 kHz), where the block filters of its usual engine hold back 37 to 115 ms.

    The engine's own state cannot be read, but its filters forget: fed with the latest input, a
    fresh one goes on in the same way. Only the position of a ratio that binary fractions cannot
    hold drifts with the length of the stream; for those the engine begins afresh every two seconds.
    """

    _variable_rate = True

    def __init__(self, rate_in: int, rate_out: int) -> None:
        super().__init__(rate_in, rate_out)
        common = math.gcd(rate_in, rate_out)
        # Samples of input for whole samples of output, and of soxr's stages that halve the rate.
        self._period = rate_in // common * _HALVINGS
        steps = rate_out // common
        drifts = bool(steps & (steps - 1))
        self._block = _aligned(_BLOCK * rate_in, self._period) if drifts else 0
        self._kept = _aligned(_KEPT * rate_in, self._period)
        self._history: collections.deque[Samples] = collections.deque()  # chunks up to `taken`
        self._held = 0  # samples in there
        self._drop = 0  # samples that a fresh engine gives out, which were given before
        self._early = np.zeros(0, np.float32)  # samples that it gave out too early

    def push(self, samples: Samples) -> Samples:
        """See _Resampler."""
        if self._stream is None:
            return super().push(samples)
        ready = []
        while self._block and (left := self._block - self.taken % self._block) <= len(samples):
            ready.append(self._feed(samples[:left]))
            samples = samples[left:]
            self._replay(self._latest())
        ready.append(self._feed(samples))
        return ready[0] if len(ready) == 1 else np.concatenate(ready)

    def state(self) -> ResamplerState:
        """Returns the state that lets another resampler continue this stream."""
        return ResamplerState(self.taken, self.given, self._latest())

    def load(self, state: ResamplerState) -> None:
        """Goes on where the resampler of the state was, at the same rates."""
        self.taken, self.given = state.taken, state.given
        if self._stream is not None:
            self._replay(state.history)

    def _feed(self, samples: Samples) -> Samples:
        self._history.append(samples)
        self._held += len(samples)
        enough = self._kept + self._period + self._block
        while self._held - len(self._history[0]) > enough:
            self._held -= len(self._history.popleft())
        return super().push(samples)

    def _run(self, samples: Samples, *, last: bool = False) -> Samples:
        made = super()._run(samples, last=last)
        if len(self._early):
            made, self._early = np.concatenate([self._early, made]), self._early[:0]
        dropped = min(self._drop, len(made))
        self._drop -= dropped
        return made[dropped:]

    def _latest(self) -> Samples:
        """The input since the last beginning but `_kept`, from a whole sample of output on."""
        since = self.taken // self._block * self._block if self._block else self.taken
        start = max(0, _aligned(since - self._kept, self._period))
        history = np.concatenate([np.zeros(0, np.float32), *self._history])
        return history[len(history) - (self.taken - start) :]

    def _replay(self, history: Samples) -> None:
        """Goes on with a fresh engine that has seen the history."""
        self._stream = self._open()
        self._history = collections.deque([history])
        self._held = len(history)
        first = (self.taken - len(history)) * self.rate_out // self.rate_in
        assert self._stream is not None
        made = self._stream.resample_chunk(history)
        given = self.given - first
        self._early, self._drop = made[given:], max(0, given - len(made))


def _aligned(position: float, period: int) -> int:
    """The last multiple of the period up to a position."""
    return int(position) // period * period


class FileResampler(_Resampler):
    """Resamples a file block by block: the same samples as `resample` of the whole, to the bit."""

    _variable_rate = False
