"""A client's bytes as samples, and back."""

from __future__ import annotations

import numpy as np

from xyt_stream.audio import Samples, StreamResampler, to_float32, to_int16
from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime import g711
from xyt_stream.protocol.realtime.settings import Alaw, Format, Ulaw


class Reader:
    """Bytes in a client's format as float32 [n] at `rate` Hz, in pieces of any size."""

    def __init__(self, form: Format, rate: int) -> None:
        self.format = form
        self._resampler = StreamResampler(form.rate, rate)

    def read(self, data: bytes) -> Samples:
        """What is ready; the rest comes with the next bytes.

        Raises:
            EventError: the bytes are no whole number of samples.
        """
        if isinstance(self.format, Ulaw):
            pcm = g711.from_ulaw(data)
        elif isinstance(self.format, Alaw):
            pcm = g711.from_alaw(data)
        elif len(data) % 2:
            raise EventError("invalid_value", "Half a 16-bit sample is missing.", "audio")
        else:
            pcm = np.frombuffer(data, "<i2")
        return self._resampler.push(to_float32(pcm))

    def flush(self) -> Samples:
        """The end of what was read. What comes next is a new sound."""
        rest = self._resampler.flush()
        self._resampler = StreamResampler(self._resampler.rate_in, self._resampler.rate_out)
        return rest


class Writer:
    """float32 [n] at `rate` Hz as bytes in a client's format, in pieces of any size.

    Attributes:
        seconds: of sound given out.
    """

    def __init__(self, form: Format, rate: int) -> None:
        self._format = form
        self._resampler = StreamResampler(rate, form.rate)
        self.seconds = 0.0

    def write(self, samples: Samples) -> bytes:
        """What is ready, maybe nothing yet."""
        return self._bytes(self._resampler.push(samples))

    def flush(self) -> bytes:
        """The rest."""
        return self._bytes(self._resampler.flush())

    def _bytes(self, samples: Samples) -> bytes:
        self.seconds += len(samples) / self._format.rate
        pcm = to_int16(samples)
        if isinstance(self._format, Ulaw):
            return g711.to_ulaw(pcm)
        if isinstance(self._format, Alaw):
            return g711.to_alaw(pcm)
        return pcm.astype("<i2").tobytes()
