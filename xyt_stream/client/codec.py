"""Runs the codec here, in a thread beside the event loop, without torch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from xyt_stream.audio import Pcm16, to_float32, to_int16
from xyt_stream.edge import EdgeDecoder, EdgeEncoder
from xyt_stream.protocol.messages import StepTimes
from xyt_stream.protocol.packing import CodeArray

T = TypeVar("T")


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
        self._encode_ms: list[float] = []  # of a frame
        self._decode_ms: list[float] = []

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
        figures = [
            np.percentile(np.array(times), (50, 99))
            for times in (self._encode_ms, self._decode_ms)
            if times
        ]
        if not figures:
            return None
        median, p99 = np.sum(figures, axis=0)
        return StepTimes(median=float(median), p99=float(p99))

    def _decode(self, codes: CodeArray) -> Pcm16:
        started = time.perf_counter()
        pcm = to_int16(self._decoder.push(codes))
        self._decode_ms.append((time.perf_counter() - started) * 1e3 / max(1, codes.shape[1]))
        return pcm

    async def _timed(self, work: Callable[[], CodeArray], times: list[float]) -> CodeArray:
        def run() -> CodeArray:
            started = time.perf_counter()
            codes = work()
            if frames := codes.shape[1]:
                times.append((time.perf_counter() - started) * 1e3 / frames)
            return codes

        return await self._run(run)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
