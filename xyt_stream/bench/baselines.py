"""Who runs in `bench codec`: this codec, Mimi, and the published model made live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE
from xyt_stream.bench.profile import held_bytes
from xyt_stream.model.overlapped import decode as decode_clips
from xyt_stream.model.overlapped import encode as encode_clips
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.steps import Steps

# The package pins an older torch than it needs, so its needs are named here one by one.
GET_MOSHI = "pip install --no-deps moshi && pip install einops sentencepiece 'huggingface_hub<1'"
NAIVE_SECONDS = 10  # of sound, coded anew for every frame


@dataclass(frozen=True)
class Contender:
    """A codec's two steps, each for one 80 ms frame of each of its streams.

    Attributes:
        key: what its figures' names begin with.
        encode: gives codes, on the device.
        decode: takes them.
        model_bytes: weights and what is made of them.
        stream_bytes: what each stream keeps.
        recorded: whether its matrix products are to be timed by themselves.
    """

    name: str
    key: str
    encode: Callable[[], Tensor]
    decode: Callable[[Tensor], Tensor]
    model_bytes: int
    stream_bytes: int
    recorded: bool = False


def ours(codec: Codec, streams: int, *, lookahead: int = 0) -> Contender:
    """This package's live steps.

    Args:
        lookahead: frames of the future that each step sees.
    """
    return _live(codec, streams, codec.name, "", lookahead)


def full_size(codec: Codec, streams: int, *, windows: int) -> Contender:
    """A bidirectional model, live, at a lookahead of 0.

    Args:
        windows: that each stream is in, one or (from 20 s on half of the time) two.
    """
    in_words = ("one window", "two windows")[windows - 1]
    key = ("full_", "full_overlap_")[windows - 1]
    return _live(codec, streams, f"{codec.name}, {in_words}", key, 0, windows)


def _live(
    codec: Codec, streams: int, name: str, key: str, lookahead: int, windows: int | None = None
) -> Contender:
    encoder = codec.stream_encoder(streams, lookahead)
    decoder = codec.stream_decoder(streams, lookahead)
    noise = torch.randn(streams, codec.frame_samples_in, device=codec.device) / 10
    everybody = encoder.steps.all_slots

    def encode() -> Tensor:
        _stay(encoder.steps, windows)
        return encoder.step(noise, everybody)

    def decode(codes: Tensor) -> Tensor:
        _stay(decoder.steps, windows)
        return decoder.step(codes, everybody)

    weights = held_bytes(codec.network)
    return Contender(
        name=name,
        key=key,
        encode=encode,
        decode=decode,
        model_bytes=weights,
        stream_bytes=(held_bytes(encoder, decoder) - weights) // streams,
        recorded=True,
    )


def _stay(steps: Steps, windows: int | None) -> None:
    """Every stream at a frame where it is in so many windows, whatever it heard before."""
    if steps.lanes and windows:
        steps.lanes.given.fill_(steps.lanes.period if windows == 2 else 0)
        steps.stream.all.frames.fill_(0)


def mimi(device: torch.device, streams: int) -> Contender | None:
    """Mimi with eight codebooks and random weights: arithmetic takes as long for any."""
    try:
        from moshi.models.loaders import get_mimi
    except ImportError:
        return None
    model = get_mimi(None, device=device, num_codebooks=8)
    weights = held_bytes(model)
    model.streaming_forever(streams)
    noise = torch.randn(streams, 1, model.frame_size, device=device) / 10
    return Contender(
        name="Mimi",
        key="mimi_",
        encode=lambda: model.encode(noise),
        decode=model.decode,
        model_bytes=weights,
        stream_bytes=(held_bytes(model) - weights) // streams,
    )


class Naive:
    """The published model, live, without any cache: each frame a window of 10 s coded anew.

    Args:
        network: bidirectional.
        streams: side by side.

    Attributes:
        sound: what was heard last, float32 [streams, samples]; noise that goes round and round.
        codes: of as long, int64 [streams, codebooks, frames].
    """

    def __init__(self, network: Tokenizer, streams: int) -> None:
        frames = NAIVE_SECONDS * INPUT_RATE // FRAME_SAMPLES
        device = network.quantizer.codebooks.device
        books = network.config.quantizer.codebooks
        self.network = network
        self.sound = torch.randn(streams, frames * FRAME_SAMPLES, device=device) / 10
        self.codes = torch.zeros(streams, books, frames, dtype=torch.int64, device=device)
        self._samples = torch.full((streams,), self.sound.shape[1], device=device)
        self._frames = torch.full((streams,), frames, device=device)

    def encode(self) -> Tensor:
        """One frame on; the codes of the newest, [streams, codebooks, 1]."""
        self.sound.copy_(self.sound.roll(-FRAME_SAMPLES, dims=1))
        return encode_clips(self.network, self.sound, self._samples)[:, :, -1:]

    def decode(self, new: Tensor) -> Tensor:
        """One frame on; the sound of the newest, float32 [streams, frame_samples_out]."""
        self.codes.copy_(torch.cat([self.codes[:, :, 1:], new], dim=2))
        heard = decode_clips(self.network, self.codes, self._frames)
        return heard[:, -self.network.config.frame_samples_out :]


def naive(network: Tokenizer, streams: int) -> Contender:
    """The published model, live, without any cache."""
    live = Naive(network, streams)
    return Contender(
        name=f"{network.config.name}, {NAIVE_SECONDS} s anew",
        key="naive_",
        encode=live.encode,
        decode=live.decode,
        model_bytes=held_bytes(network),
        stream_bytes=held_bytes(live.sound, live.codes) // streams,
    )
