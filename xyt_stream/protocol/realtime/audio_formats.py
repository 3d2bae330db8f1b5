"""Converts between a client's bytes (PCM, G.711 u-law or A-law) and float32 samples."""

from __future__ import annotations

import base64
import binascii
import warnings
from collections.abc import Iterator

import numpy as np

from xyt_stream.audio import Samples, StreamResampler, to_float32, to_int16
from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.settings import (
    AlawFormat,
    AudioFormat,
    PcmFormat,
    UlawFormat,
)

with warnings.catch_warnings():
    # Python 3.13 removed audioop; there audioop-lts (see pyproject.toml) provides the same module.
    warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
    import audioop

_WIDTH = 2  # bytes of a sample
_PIECE = 16_000  # characters of base64 decoded at once: 12,000 bytes, a quarter of a second


def decode_base64(text: str, param: str) -> Iterator[bytes]:
    """Decodes base64, with or without the padding at its end, in pieces of a second of PCM.

    Raises:
        EventError: it is none; `param` is the field that holds it.
    """
    bare = text.rstrip("=")
    if "=" in bare:
        raise _no_base64(param)
    for start in range(0, len(bare), _PIECE):
        piece = bare[start : start + _PIECE]
        try:
            yield base64.b64decode(piece + "=" * (-len(piece) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise _no_base64(param) from None


def _no_base64(param: str) -> EventError:
    return EventError(
        "invalid_value",
        f"Invalid '{param}'. Expected base64-encoded audio bytes, but got an invalid value.",
        param,
    )


def seconds_of(text: str, form: AudioFormat) -> float:
    """Returns the seconds of sound in a base64 text, without decoding it."""
    width = 1 if isinstance(form, UlawFormat | AlawFormat) else _WIDTH
    return len(text) * 3 / 4 / width / form.rate


class AudioDecoder:
    """Decodes bytes of one format into float32 [n] at `rate` Hz, in chunks of any size."""

    def __init__(self, form: AudioFormat, rate: int) -> None:
        self.format = form
        self._resampler = StreamResampler(form.rate, rate)

    def check(self, size: int) -> None:
        """Raises EventError if so many bytes are no whole number of samples."""
        if isinstance(self.format, PcmFormat) and size % _WIDTH:
            raise EventError("invalid_value", "Half a 16-bit sample is missing.", "audio")

    def decode(self, data: bytes) -> Samples:
        """Returns the samples that are ready; the resampler's rest comes with the next bytes."""
        if isinstance(self.format, UlawFormat):
            pcm = np.frombuffer(audioop.ulaw2lin(data, _WIDTH), np.int16)
        elif isinstance(self.format, AlawFormat):
            pcm = np.frombuffer(audioop.alaw2lin(data, _WIDTH), np.int16)
        else:
            pcm = np.frombuffer(data, "<i2")
        return self._resampler.push(to_float32(pcm))

    def flush(self) -> Samples:
        """Returns the resampler's rest. The next bytes begin a new recording."""
        rest = self._resampler.flush()
        self._resampler = StreamResampler(self._resampler.rate_in, self._resampler.rate_out)
        return rest


class AudioEncoder:
    """Encodes float32 [n] at `rate` Hz into bytes of one format, in chunks of any size.

    Attributes:
        seconds: of audio returned so far.
    """

    def __init__(self, form: AudioFormat, rate: int) -> None:
        self._format = form
        self._resampler = StreamResampler(rate, form.rate)
        self.seconds = 0.0

    def encode(self, samples: Samples) -> bytes:
        """Returns the bytes that are ready, possibly none yet."""
        return self._bytes(self._resampler.push(samples))

    def flush(self) -> bytes:
        """Returns the resampler's rest."""
        return self._bytes(self._resampler.flush())

    def _bytes(self, samples: Samples) -> bytes:
        self.seconds += len(samples) / self._format.rate
        pcm = to_int16(samples)
        if isinstance(self._format, UlawFormat):
            return audioop.lin2ulaw(pcm.tobytes(), _WIDTH)
        if isinstance(self._format, AlawFormat):
            return audioop.lin2alaw(pcm.tobytes(), _WIDTH)
        return pcm.astype("<i2").tobytes()
