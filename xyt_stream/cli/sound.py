"""Streams sound files through a codec block by block, so that memory does not grow with length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from xyt_stream.audio import (
    FRAME_SECONDS,
    FileResampler,
    Samples,
    SoundReader,
    SoundWriter,
    fit_length,
    scaled_length,
    to_int16,
)

if TYPE_CHECKING:
    from torch import Tensor

    from xyt_stream.streaming.codec import Codec

_CHUNK = 16_000  # samples that are encoded between two updates of the progress bar
_HELD = 3 * FRAME_SECONDS  # seconds that are held back until the length is known
_FRAMES = 25  # frames that are decoded at once


def encode_live(
    codec: Codec, reader: SoundReader, lookahead: int, advance: Callable[[float], None]
) -> Iterator[Tensor]:
    """Yields int64 [codebooks, new frames] of a file as a live stream; at least one frame in all.

    Args:
        advance: called with the seconds of sound that were encoded.

    Raises:
        AudioError: the file is damaged or holds no sound.
        ModelError: the codec has no such lookahead.
    """
    encoder = codec.stream_encoder(lookahead=lookahead)
    pushed = 0
    for block in reader.resampled(codec.input_rate):
        pushed += len(block)
        for chunk in np.array_split(block, len(block) // _CHUNK + 1):
            yield encoder.push(chunk)
            advance(len(chunk) / codec.input_rate)
    if not pushed:  # a sample or two at a higher rate
        yield encoder.push(np.zeros(1, np.float32))
    yield encoder.flush()


def decode_live(codec: Codec, codes: Iterator[Tensor], lookahead: int) -> Iterator[Samples]:
    """Yields float32 [new samples] of codes as a live stream.

    Raises:
        CodeError: the codes are not of this codec.
        ModelError: the codec has no such lookahead.
    """
    decoder = codec.stream_decoder(lookahead=lookahead)
    for block in codes:
        for start in range(0, block.shape[1], _FRAMES):
            yield np.asarray(decoder.push(block[:, start : start + _FRAMES]))
    yield np.asarray(decoder.flush())


class TargetFile:
    """Writes decoded sound at any rate, and exactly as long as the original.

    Args:
        writer: the file; its rate is `rate`.
        codec_rate: Hz of the decoded sound.
        rate: Hz of the file.
    """

    def __init__(self, writer: SoundWriter, codec_rate: int, rate: int) -> None:
        self._writer = writer
        self._rate = rate
        self._resampler = FileResampler(codec_rate, rate)
        self._held = np.zeros(0, np.float32)
        self._written = 0

    def write(self, decoded: Samples) -> None:
        """Writes float32 [n], except the last ones: the last frame is longer than the original."""
        self._held = np.concatenate([self._held, self._resampler.push(decoded)])
        ready = max(0, len(self._held) - round(_HELD * self._rate))
        self._put(self._held[:ready])
        self._held = self._held[ready:]

    def finish(self, samples: int, rate: int) -> int:
        """Writes the rest, cut or padded to last as long as `samples` at `rate` Hz.

        Returns:
            The length in samples at the file's rate.
        """
        length = scaled_length(samples, rate, self._rate)
        rest = np.concatenate([self._held, self._resampler.flush()])
        self._put(fit_length(rest, max(0, length - self._written)))
        return length

    def _put(self, samples: Samples) -> None:
        self._writer.write(to_int16(samples))
        self._written += len(samples)
