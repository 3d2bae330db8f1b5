"""Builds the codecs of `bench codec`: this one, Mimi, and the published model without a cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE
from xyt_stream.bench.profile import network_bytes, tensor_bytes
from xyt_stream.edge import EdgeDecoder, EdgeEncoder
from xyt_stream.errors import MissingExtraError
from xyt_stream.model.overlapped import decode as decode_clips
from xyt_stream.model.overlapped import encode as encode_clips
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.coder import StreamCoder

# moshi pins an older torch than it needs, so its dependencies are named one by one.
GET_MOSHI = "pip install --no-deps moshi && pip install einops sentencepiece 'huggingface_hub<1'"
NAIVE_SECONDS = 10  # s of sound that are coded again for every frame


@dataclass(frozen=True)
class LiveCodec:
    """A codec's encode and decode step, each for one 80 ms frame of all its streams.

    Attributes:
        key: prefix of its figures' names; empty for this package's codec.
        encode: returns codes, on the device.
        decode: takes these codes; returns sound.
        model_bytes: memory of the weights, packed copies included.
        stream_bytes: memory of one stream's state.
        written: takes a step as it is written in torch; its matrix products are timed alone.
    """

    name: str
    key: str
    encode: Callable[[], Tensor]
    decode: Callable[[Tensor], Tensor]
    model_bytes: int
    stream_bytes: int
    written: Callable[[], object] | None = None


def ours(codec: Codec, streams: int, *, lookahead: int = 0) -> LiveCodec:
    """Returns this package's codec.

    Args:
        lookahead: future frames that each step sees.
    """
    return _live(codec, streams, codec.name, "", lookahead)


def full_size(codec: Codec, streams: int, *, windows: int) -> LiveCodec:
    """Returns a bidirectional model at lookahead 0.

    Args:
        windows: how many overlapping windows each stream is in: one or, from 20 s on for half of
            the time, two.
    """
    in_words = ("one window", "two windows")[windows - 1]
    key = ("full_", "full_overlap_")[windows - 1]
    return _live(codec, streams, f"{codec.name}, {in_words}", key, 0, windows)


def _live(
    codec: Codec, streams: int, name: str, key: str, lookahead: int, windows: int | None = None
) -> LiveCodec:
    encoder = codec.stream_encoder(streams, lookahead)
    decoder = codec.stream_decoder(streams, lookahead)
    noise = torch.randn(streams, codec.frame_samples_in, device=codec.device) / 10
    all_slots = encoder.all_slots

    def encode() -> Tensor:
        _hold_windows(encoder, windows)
        return encoder.step(noise, all_slots)

    def decode(codes: Tensor) -> Tensor:
        _hold_windows(decoder, windows)
        return decoder.step(codes, all_slots)

    def written() -> Tensor:
        sole = [half.sole_lane(all_slots) for half in (encoder, decoder)]
        codes = encoder.run(noise, all_slots, None, sole[0])
        return decoder.run(codes, all_slots, None, sole[1])

    weights = tensor_bytes(codec.network)
    return LiveCodec(
        name=name,
        key=key,
        encode=encode,
        decode=decode,
        model_bytes=network_bytes(codec.network),
        stream_bytes=(tensor_bytes(encoder, decoder) - weights) // streams,
        written=written,
    )


def _hold_windows(half: StreamCoder, windows: int | None) -> None:
    """Puts every stream at a frame where it is in that many windows."""
    if half.lanes and windows:
        half.lanes.given.fill_(half.lanes.period if windows == 2 else 0)
        half.stream.all.frames.fill_(0)


def edge(codec: Codec, streams: int) -> LiveCodec | None:
    """Returns the exported default model in onnxruntime, as clients without torch run it.

    Returns:
        None for another model, more streams than one, or without onnxruntime.
    """
    if streams > 1:
        return None
    try:
        encoder, decoder = (
            half(threads=torch.get_num_threads()) for half in (EdgeEncoder, EdgeDecoder)
        )
    except MissingExtraError:
        return None
    if encoder.hash != codec.hash:
        return None
    noise = np.random.default_rng(0).normal(0, 0.1, codec.frame_samples_in)
    return LiveCodec(
        name=f"{codec.name}, onnxruntime",
        key="edge_",
        encode=lambda: torch.from_numpy(encoder.push(noise)),
        decode=lambda codes: torch.from_numpy(decoder.push(codes)),
        model_bytes=tensor_bytes(*codec.network.state_dict().values()),
        stream_bytes=len(encoder.state()) + len(decoder.state()),
    )


def mimi(device: torch.device, streams: int) -> LiveCodec | None:
    """Returns Mimi with eight codebooks and random weights, which take as long as trained ones.

    Returns:
        None if the package moshi is not installed.
    """
    try:
        from moshi.models.loaders import get_mimi
    except ImportError:
        return None
    model = get_mimi(None, device=device, num_codebooks=8)
    weights = tensor_bytes(model)
    model.streaming_forever(streams)
    noise = torch.randn(streams, 1, model.frame_size, device=device) / 10
    return LiveCodec(
        name="Mimi",
        key="mimi_",
        encode=lambda: model.encode(noise),
        decode=model.decode,
        model_bytes=weights,
        stream_bytes=(tensor_bytes(model) - weights) // streams,
    )


class Naive:
    """Codes the last 10 s again for every frame: the published model, live, without a cache.

    Args:
        network: a bidirectional network.
        streams: number of streams in the batch.

    Attributes:
        sound: the last 10 s, float32 [streams, samples]; noise that repeats.
        codes: the last 10 s, int64 [streams, codebooks, frames].
    """

    def __init__(self, network: Tokenizer, streams: int) -> None:
        frames = NAIVE_SECONDS * INPUT_RATE // FRAME_SAMPLES
        device = network.quantizer.codebooks.device
        codebooks = network.config.quantizer.codebooks
        self.network = network
        self.sound = torch.randn(streams, frames * FRAME_SAMPLES, device=device) / 10
        self.codes = torch.zeros(streams, codebooks, frames, dtype=torch.int64, device=device)
        self._samples = torch.full((streams,), self.sound.shape[1], device=device)
        self._frames = torch.full((streams,), frames, device=device)

    def encode(self) -> Tensor:
        """Advances by one frame; returns its codes, int64 [streams, codebooks, 1]."""
        self.sound.copy_(self.sound.roll(-FRAME_SAMPLES, dims=1))
        return encode_clips(self.network, self.sound, self._samples)[:, :, -1:]

    def decode(self, new: Tensor) -> Tensor:
        """Advances by one frame; returns its sound, float32 [streams, frame_samples_out]."""
        self.codes.copy_(torch.cat([self.codes[:, :, 1:], new], dim=2))
        heard = decode_clips(self.network, self.codes, self._frames)
        return heard[:, -self.network.config.frame_samples_out :]


def naive(network: Tokenizer, streams: int) -> LiveCodec:
    """Returns the published model, live, without a cache."""
    live = Naive(network, streams)
    return LiveCodec(
        name=f"{network.config.name}, {NAIVE_SECONDS} s again",
        key="naive_",
        encode=live.encode,
        decode=live.decode,
        model_bytes=tensor_bytes(network),
        stream_bytes=tensor_bytes(live.sound, live.codes) // streams,
    )
