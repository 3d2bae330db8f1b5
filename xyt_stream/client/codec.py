"""Runs the codec here, in a thread beside the event loop, without torch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import Pcm16, to_float32, to_int16
from xyt_stream.edge import EdgeDecoder, EdgeEncoder
from xyt_stream.protocol.messages import StepTimes
from xyt_stream.protocol.packing import CodeArray

T = TypeVar("T")

_KEPT = 4096  # frames whose times are kept: five minutes


class LocalCodec:
    """A model: encodes one stream and decodes another, each as they come.

    All methods run on one event loop; the work is done in a thread of its own.

    Attributes:
        hash: of the model.
        num_codebooks, codebook_size: how many codes a frame has, and how many values each.
        frame_samples: samples of a decoded frame.
        rate: Hz of decoded sound.
    """

    def __init__(self, encoder: EdgeEncoder, decoder: EdgeDecoder) -> None:
        self.hash = encoder.hash
        self.num_codebooks = encoder.num_codebooks
        self.codebook_size = encoder.codebook_size
        self.rate = decoder.output_rate
        self.frame_samples = decoder.frame_samples_out
        self._encoder = encoder
        self._decoder = decoder
        self._executor = ThreadPoolExecutor(1, "xyt-codec")
        self._encode_ms = _FrameTimes()
        self._decode_ms = _FrameTimes()

    @classmethod
    async def load(cls, folder: Path | None = None) -> LocalCodec:
        """Loads an exported model from its folder; None: the one in the package.

        Raises:
            MissingExtraError: there is no onnxruntime.
            ModelError: the model cannot be used.
        """
        return await asyncio.to_thread(lambda: cls(EdgeEncoder(folder), EdgeDecoder(folder)))

    def close(self) -> None:
        """Ends the thread after the work that waits."""
        self._executor.shutdown(wait=False)

    async def encode(self, pcm: Pcm16) -> CodeArray:
        """Encodes int16 [samples] at 16 kHz; returns the frames that are full."""
        samples = to_float32(pcm)
        return await self._timed(lambda: self._encoder.push(samples), self._encode_ms)

    async def flush_encoder(self) -> CodeArray:
        """Encodes what is left as a last frame, padded; the next frame begins a new stream."""
        return await self._timed(self._encoder.flush, self._encode_ms)

    async def decode(self, codes: CodeArray) -> Pcm16:
        """Decodes int64 [codebooks, frames]; returns int16 [new samples] at `rate`."""
        return await self._run(lambda: self._decode(codes))

    async def flush_decoder(self) -> Pcm16:
        """Returns the rest of the sound; the next frame begins a new stream."""
        return await self._run(lambda: to_int16(self._decoder.flush()))

    async def reset_encoder(self) -> None:
        """Begins a new stream of sound."""
        await self._run(self._encoder.reset)

    def step_ms(self) -> StepTimes | None:
        """Median and 99th percentile of encoding and decoding a frame; None: no frame yet."""
        latest = [times.latest for times in (self._encode_ms, self._decode_ms)]
        figures = [np.percentile(times, (50, 99)) for times in latest if len(times)]
        if not figures:
            return None
        median, p99 = np.sum(figures, axis=0)
        return StepTimes(median=float(median), p99=float(p99))

    def _decode(self, codes: CodeArray) -> Pcm16:
        started = time.perf_counter()
        pcm = to_int16(self._decoder.push(codes))
        self._decode_ms.add((time.perf_counter() - started) * 1e3 / max(1, codes.shape[1]))
        return pcm

    async def _timed(self, work: Callable[[], CodeArray], times: _FrameTimes) -> CodeArray:
        def run() -> CodeArray:
            started = time.perf_counter()
            codes = work()
            if frames := codes.shape[1]:
                times.add((time.perf_counter() - started) * 1e3 / frames)
            return codes

        return await self._run(run)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


class _FrameTimes:
    """The latest times of coding a frame. One thread adds them, any thread may read them."""

    def __init__(self) -> None:
        self._ms = np.zeros(_KEPT)
        self._count = 0

    def add(self, ms: float) -> None:
        """Adds a time, in place of the oldest one once all places are taken."""
        self._ms[self._count % _KEPT] = ms
        self._count += 1

    @property
    def latest(self) -> npt.NDArray[np.float64]:
        """The times that are kept, in ms, in no order."""
        return self._ms[: min(self._count, _KEPT)]
