"""Many full streams on one device, stepped as a server would: sound in, sound out."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.evaluate.timing import WARM_UP, Times, summary, timed
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.decoder import StreamDecoder
from xyt_stream.streaming.encoder import StreamEncoder
from xyt_stream.streaming.graphs import CudaCapture, Graphs
from xyt_stream.streaming.steps import Step
from xyt_stream.streaming.transfers import Transfers


@dataclass(frozen=True)
class Steps:
    """Of so many streams, from sound in the host's memory to sound in the host's memory."""

    streams: int
    times: Times
    longest: float  # ms

    @property
    def in_time(self) -> bool:
        """Whether no step took longer than the sound it stands for."""
        return self.longest <= FRAME_SECONDS * 1e3


class Rig:
    """An encoder and a decoder whose streams have all heard more than they can remember.

    Args:
        graphs: capture the step of all streams, on a GPU.
    """

    def __init__(self, codec: Codec, streams: int, *, graphs: bool) -> None:
        self.codec = codec
        device = codec.device
        self.encoder = StreamEncoder(codec.network, streams, graphs=False)
        self.decoder = StreamDecoder(codec.network, streams, graphs=False)
        for half in (self.encoder, self.decoder):
            state = half.steps.stream.all
            state.frames.fill_(10 * codec.network.config.context)
            for ring in (*state.keys.values(), *state.values.values()):
                ring.normal_()  # a GPU is faster on zeros
        self.everybody = self.encoder.steps.all_slots
        self.encode: Step = self.encoder.run
        self.decode: Step = self.decoder.run
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
        """All streams, one frame; codes travel home while the sound is made."""
        codes = self.encode(self.transfers.up(self.pcm), self.everybody)
        coded = self.transfers.down(codes, self.codes)
        sound: Tensor = self.decode(codes, self.everybody)
        heard = self.transfers.down(sound, self.sound)
        coded.wait()
        heard.wait()

    def measure(self, steps: int) -> Steps:
        """Times so many steps."""
        seconds = [timed(self.step, self.codec.device)[1] for _ in range(WARM_UP + steps)]
        seconds = seconds[WARM_UP:]
        return Steps(len(self.everybody), summary(seconds), 1e3 * max(seconds))


def measure(codec: Codec, streams: int, steps: int, *, graphs: bool = True) -> Steps | None:
    """Times of a rig made for this and given back; None where it does not fit into memory."""
    try:
        return Rig(codec, streams, graphs=graphs).measure(steps)
    except RuntimeError as error:
        # Memory that runs out within a capture comes out as a capture that failed.
        if not isinstance(error, torch.OutOfMemoryError) and not isinstance(
            error.__context__, torch.OutOfMemoryError
        ):
            raise
        return None
    finally:
        gc.collect()  # graphs and what they are captured from hold each other
        if codec.device.type == "cuda":
            torch.cuda.empty_cache()


def trial(codec: Codec, steps: int, seen: list[Steps], streams: int) -> bool:
    """Whether so many streams are stepped in time; adds what it saw to `seen`."""
    result = measure(codec, streams, steps)
    if result is not None:
        seen.append(result)
    return result is not None and result.in_time


def kernels_of(codec: Codec, *, graphs: bool) -> int | None:
    """Kernels that one stream's step runs; None on a CPU."""
    from xyt_stream.bench.profile import kernels

    rig = Rig(codec, 1, graphs=graphs)
    rig.step()
    return kernels(partial(rig.step), codec.device)
