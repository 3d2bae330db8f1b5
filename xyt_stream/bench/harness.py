"""Steps many streams on one device as the server does, from sound to sound."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.evaluate.timing import WARM_UP, Times, summary, timed
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.compiled_step import StepFunction
from xyt_stream.streaming.decoder import StreamDecoder
from xyt_stream.streaming.encoder import StreamEncoder
from xyt_stream.streaming.graphs import CudaCapture, Graphs
from xyt_stream.streaming.transfers import Transfers


@dataclass(frozen=True)
class BatchTimes:
    """Times of steps of `streams` streams, from sound in host memory to sound in host memory.

    Attributes:
        longest: the slowest step, ms.
    """

    streams: int
    times: Times
    longest: float

    @property
    def in_time(self) -> bool:
        """Whether every step was shorter than a frame."""
        return self.longest <= FRAME_SECONDS * 1e3


class Harness:
    """An encoder and a decoder with `streams` streams whose left context is full.

    Args:
        graphs: on a GPU, capture the step of all streams.
    """

    def __init__(self, codec: Codec, streams: int, *, graphs: bool) -> None:
        self.codec = codec
        device = codec.device
        self.encoder = StreamEncoder(codec.network, streams)
        self.decoder = StreamDecoder(codec.network, streams)
        for half in (self.encoder, self.decoder):
            state = half.stream.all
            state.frames.fill_(10 * codec.network.config.context)
            for ring in (*state.keys.values(), *state.values.values()):
                ring.normal_()  # on zeros a GPU would be faster
        self.all_slots = self.encoder.all_slots
        self.encode: StepFunction = self.encoder.run
        self.decode: StepFunction = self.decoder.run
        self.transfers = Transfers(device)
        self.pcm = self.transfers.staging(streams, codec.frame_samples_in).normal_(0, 0.1)
        self.codes = self.transfers.staging(streams, codec.num_codebooks, dtype=torch.int64)
        self.sound = self.transfers.staging(streams, codec.frame_samples_out)
        if graphs and device.type == "cuda":
            capture = CudaCapture(device)
            pcm, codes = self.pcm.to(device), self.codes.to(device)
            self.encode = Graphs(self.encoder.run, pcm, capture, [streams])
            self.decode = Graphs(self.decoder.run, codes, capture, [streams])

    @torch.inference_mode()
    def step(self) -> None:
        """Steps all streams by one frame; the codes are copied back while the decoder runs."""
        codes = self.encode(self.transfers.up(self.pcm), self.all_slots)
        codes_copy = self.transfers.down(codes, self.codes)
        sound: Tensor = self.decode(codes, self.all_slots)
        sound_copy = self.transfers.down(sound, self.sound)
        codes_copy.wait()
        sound_copy.wait()

    def measure(self, steps: int) -> BatchTimes:
        """Times `steps` steps, after the warm-up."""
        seconds = [timed(self.step, self.codec.device)[1] for _ in range(WARM_UP + steps)]
        seconds = seconds[WARM_UP:]
        return BatchTimes(len(self.all_slots), summary(seconds), 1e3 * max(seconds))


def measure(codec: Codec, streams: int, steps: int, *, graphs: bool = True) -> BatchTimes | None:
    """Times steps in a harness of its own; None if it does not fit into memory."""
    try:
        return Harness(codec, streams, graphs=graphs).measure(steps)
    except RuntimeError as error:
        # Out of memory during a capture is raised as a failed capture.
        if not isinstance(error, torch.OutOfMemoryError) and not isinstance(
            error.__context__, torch.OutOfMemoryError
        ):
            raise
        return None
    finally:
        gc.collect()  # graphs and the steps they were captured from refer to each other
        if codec.device.type == "cuda":
            torch.cuda.empty_cache()


def trial(codec: Codec, steps: int, seen: list[BatchTimes], streams: int) -> bool:
    """Says whether every step of `streams` streams is in time; appends the times to `seen`."""
    result = measure(codec, streams, steps)
    if result is not None:
        seen.append(result)
    return result is not None and result.in_time


def kernels_of(codec: Codec, *, graphs: bool) -> int | None:
    """Counts the kernels in one stream's step; None on a CPU."""
    from xyt_stream.bench.profile import kernels

    harness = Harness(codec, 1, graphs=graphs)
    harness.step()
    return kernels(partial(harness.step), codec.device)


def longest_of(codec: Codec, streams: int) -> list[tuple[str, float]]:
    """Profiles a step of so many streams: names and ms of what takes longest in it."""
    from xyt_stream.bench.profile import longest

    harness = Harness(codec, streams, graphs=True)
    harness.step()
    return longest(harness.step, codec.device)
