"""Offline coding of a clip beside the published algorithm, on the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from rich.table import Table
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE
from xyt_stream.evaluate.fidelity import finite, snr_db
from xyt_stream.evaluate.timing import ran_on, timed
from xyt_stream.model.checkpoint import Checkpoint
from xyt_stream.model.config import MEL_HOP, STEPS_PER_FRAME, ModelConfig
from xyt_stream.model.timeline import Cached, Clip
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.codec import Codec


@dataclass(frozen=True)
class Speed:
    """Seconds for one clip: medians."""

    encode: float
    decode: float

    @property
    def both(self) -> float:
        return self.encode + self.decode


@dataclass(frozen=True)
class OfflineTimes:
    """This package's way and the published one.

    Args:
        seconds: of sound.
        codes_equal: whether both ways gave the same codes.
        snr_db: of this package's sound against that of the published way, from the same codes.
    """

    model: str
    device: str
    threads: int
    seconds: float
    ours: Speed
    published: Speed
    codes_equal: bool
    snr_db: float

    @property
    def ratio(self) -> float:
        """This package's time for the published way's."""
        return self.ours.both / self.published.both

    def flat(self) -> dict[str, Any]:
        """The figures for `--json`."""
        names = ("model", "device", "threads", "seconds", "codes_equal", "ratio")
        figures = {name: getattr(self, name) for name in names}
        figures["snr_db"] = finite(self.snr_db)
        for prefix, speed in (("", self.ours), ("published_", self.published)):
            figures[f"{prefix}encode_ms"] = 1000 * speed.encode
            figures[f"{prefix}decode_ms"] = 1000 * speed.decode
            figures[f"{prefix}total_ms"] = 1000 * speed.both
        return figures

    def table(self) -> Table:
        """The figures for the terminal."""
        title = f"{self.model} on {ran_on(self.device, self.threads)}: {self.seconds:g} s, medians"
        table = Table("", "encode, s", "decode, s", "both, s", title=title)
        for name, speed in (("this package", self.ours), ("published way", self.published)):
            values = (speed.encode, speed.decode, speed.both)
            table.add_row(name, *(f"{value:.2f}" for value in values))
        return table

    @property
    def note(self) -> str:
        same = "the same codes" if self.codes_equal else "DIFFERENT CODES"
        return f"{same}, sound within {self.snr_db:.0f} dB, in {self.ratio:.0%} of the time"


def random_network(config: ModelConfig, device: str = "cpu") -> Tokenizer:
    """Random weights whose codes vary as trained ones do."""
    torch.manual_seed(0)
    with torch.device(device):
        network = Tokenizer(config).eval().requires_grad_(False).to(device)
    network.quantizer.codebooks.mul_(0.5)  # about as long as what `input_proj` gives them to code
    network.quantizer.refresh()
    return network


def compare(network: Tokenizer, *, seconds: float = 5, repeats: int = 3) -> OfflineTimes:
    """Times both ways in turns, so that a busy moment hits both.

    Args:
        network: a bidirectional one.
        seconds: of sound, at most one window.
        repeats: of each way, after one to warm up.
    """
    codec = Codec(Checkpoint(network, ""))
    noise = torch.randn(round(seconds * INPUT_RATE), device=codec.device) / 10
    taken: list[list[float]] = [[], [], [], []]
    for _ in range(1 + repeats):
        codes, encode = timed(partial(codec.encode, noise), codec.device)
        sound, decode = timed(partial(codec.decode, codes), codec.device)
        published = partial(published_encode, network, noise)
        published_codes, published_coding = timed(published, codec.device)
        published = partial(published_decode, network, codes)
        published_sound, published_decoding = timed(published, codec.device)
        new = (encode, decode, published_coding, published_decoding)
        for times, value in zip(taken, new, strict=True):
            times.append(value)
    medians = [median(times[1:]) for times in taken]
    return OfflineTimes(
        model=codec.name,
        device=str(codec.device),
        threads=torch.get_num_threads(),
        seconds=seconds,
        ours=Speed(*medians[:2]),
        published=Speed(*medians[2:]),
        codes_equal=torch.equal(codes, published_codes.cpu()),
        snr_db=snr_db(sound, published_sound.cpu()),
    )


class FullyMasked(Clip):
    """One clip whose mask is [1, 1, length, length], added up anew in every layer."""

    def attend(self, layer: Cached, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert self.ends is not None
        length = q.shape[2]
        end = self.ends * layer.positions_per_frame // STEPS_PER_FRAME
        full = torch.zeros(1, 1, length, length, device=self.device)
        full.masked_fill_(self.positions(length) >= end, -torch.inf)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=full)


# The published code writes attention out: all scores, plus the mask, softmax, times the values.
_explicit_attention = sdpa_kernel(SDPBackend.MATH)


@torch.inference_mode()
@_explicit_attention
def published_encode(network: Tokenizer, wav: Tensor) -> Tensor:
    """[samples], up to one window -> codes [codebooks, samples // 1280], from a full window."""
    frames = network.config.context
    full = F.pad(wav, (0, frames * FRAME_SAMPLES - len(wav)))
    clip = _fully_masked(network, frames, -(-len(wav) // MEL_HOP) // 2)
    return network.encode(full[None], clip)[0, :, : len(wav) // FRAME_SAMPLES]


@torch.inference_mode()
@_explicit_attention
def published_decode(network: Tokenizer, codes: Tensor) -> Tensor:
    """[codebooks, frames], up to one window -> [frames * frame_samples_out]."""
    frames = codes.shape[1]
    batch = codes[None].to(network.quantizer.codebooks.device)
    return network.decode(batch, _fully_masked(network, frames, frames * STEPS_PER_FRAME))[0]


def _fully_masked(network: Tokenizer, frames: int, end: int) -> FullyMasked:
    """A timeline of one clip with `end` valid positions at 50 Hz."""
    device = network.quantizer.codebooks.device
    ends = torch.tensor([end], device=device)
    context = network.config.context
    return FullyMasked(frames, causal=False, context=context, device=device, ends=ends)
