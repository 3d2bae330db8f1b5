"""Resamples whole clips and streams."""

from __future__ import annotations

import numpy as np

from xyt_stream.audio.samples import Samples, fit_length, scaled_length


def resample(samples: Samples, rate_in: int, rate_out: int) -> Samples:
    """A whole clip at another rate: [n] -> [scaled_length(n, rate_in, rate_out)]."""
    if rate_in == rate_out:
        return samples
    import soxr

    resampled = soxr.resample(samples, rate_in, rate_out)
    return fit_length(resampled, scaled_length(len(samples), rate_in, rate_out))


class _Resampler:
    """Resamples a stream in chunks of any size; the result does not depend on their sizes.

    The results of `push` and `flush`, joined, are `scaled_length(n, rate_in, rate_out)` samples for
    n pushed. At equal rates they are the input.

    Args:
        rate_in: Hz of the input.
        rate_out: Hz of the output.
    """

    _variable_rate: bool

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._taken = 0
        self._given = 0
        self._stream = None
        if rate_in != rate_out:
            import soxr  # not at the top: a relay resamples nothing

            self._stream = soxr.ResampleStream(
                rate_in, rate_out, 1, dtype="float32", quality="HQ", vr=self._variable_rate
            )

    def push(self, samples: Samples) -> Samples:
        """Take float32 [n] at `rate_in`; returns float32 [ready] at `rate_out`, maybe none yet."""
        self._taken += len(samples)
        if self._stream is None:
            return samples
        return self._give(self._stream.resample_chunk(samples))

    def flush(self) -> Samples:
        """End the stream; returns the rest of its samples. Push nothing afterwards."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        # The variable-rate engine ends up to three samples early: silence pushes the last ones out.
        silence = np.zeros(self.rate_in // 100 + 1 if self._variable_rate else 0, np.float32)
        rest = self._give(self._stream.resample_chunk(silence, last=True))
        return np.concatenate([rest, self._give(np.zeros(self._left, np.float32))])

    @property
    def _left(self) -> int:
        return scaled_length(self._taken, self.rate_in, self.rate_out) - self._given

    def _give(self, ready: Samples) -> Samples:
        ready = ready[: self._left]
        self._given += len(ready)
        return ready


class StreamResampler(_Resampler):
    """Resamples live sound with little lag, within 0.25 ms of `resample` of the whole.

    It is soxr's variable-rate engine, at a fixed rate: its lag is 8 to 15 ms (30 ms up from
    8 kHz), where the block filters of its usual engine hold back 37 to 115 ms.
    """

    _variable_rate = True


class FileResampler(_Resampler):
    """Resamples a file block by block: the same samples as `resample` of the whole, to the bit."""

    _variable_rate = False
