"""Compares offline coding with the published algorithm, on the same weights."""

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
from xyt_stream.model.timeline import Cached, ClipTimeline
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.codec import Codec


@dataclass(frozen=True)
class ClipTimes:
    """Median seconds to encode and to decode one clip."""

    encode: float
    decode: float

    @property
    def both(self) -> float:
        return self.encode + self.decode


@dataclass(frozen=True)
class OfflineTimes:
    """Times and agreement of this package and the published algorithm.

    Attributes:
        seconds: length of the clip.
        codes_equal: whether both gave the same codes.
        snr_db: of this package's sound against the published algorithm's, from the same codes.
    """

    model: str
    device: str
    threads: int
    seconds: float
    ours: ClipTimes
    published: ClipTimes
    codes_equal: bool
    snr_db: float

    @property
    def ratio(self) -> float:
        """This package's time divided by the published algorithm's."""
        return self.ours.both / self.published.both

    def flat(self) -> dict[str, Any]:
        """Returns the figures for `--json`."""
        names = ("model", "device", "threads", "seconds", "codes_equal", "ratio")
        figures = {name: getattr(self, name) for name in names}
        figures["snr_db"] = finite(self.snr_db)
        for prefix, speed in (("", self.ours), ("published_", self.published)):
            figures[f"{prefix}encode_ms"] = 1000 * speed.encode
            figures[f"{prefix}decode_ms"] = 1000 * speed.decode
            figures[f"{prefix}total_ms"] = 1000 * speed.both
        return figures

    def table(self) -> Table:
        """Returns the figures for the terminal."""
        title = f"{self.model} on {ran_on(self.device, self.threads)}: {self.seconds:g} s, medians"
        table = Table("algorithm", "encode, s", "decode, s", "encode + decode, s", title=title)
        for name, speed in (("this package", self.ours), ("published", self.published)):
            values = (speed.encode, speed.decode, speed.both)
            table.add_row(name, *(f"{value:.2f}" for value in values))
        return table

    @property
    def note(self) -> str:
        """One line that says whether the results agree."""
        same = "the same codes" if self.codes_equal else "DIFFERENT CODES"
        return f"{same}, SNR {self.snr_db:.0f} dB, in {self.ratio:.0%} of the time"


def random_network(config: ModelConfig, device: str = "cpu") -> Tokenizer:
    """Builds a network of random weights whose codes vary as a trained network's do."""
    torch.manual_seed(0)
    with torch.device(device):
        network = Tokenizer(config).eval().requires_grad_(False).to(device)
    network.quantizer.codebooks.mul_(0.5)  # about the norm of the vectors that `input_proj` gives
    network.quantizer.refresh()
    return network


def compare(network: Tokenizer, *, seconds: float = 5, repeats: int = 3) -> OfflineTimes:
    """Times both algorithms in turns, so that a busy moment affects both.

    Args:
        network: a bidirectional network.
        seconds: length of the clip, at most one window.
        repeats: timed runs of each, after one for warm-up.
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
        ours=ClipTimes(*medians[:2]),
        published=ClipTimes(*medians[2:]),
        codes_equal=torch.equal(codes, published_codes.cpu()),
        snr_db=snr_db(sound, published_sound.cpu()),
    )


class FullyMasked(ClipTimeline):
    """One clip with a full mask, [1, 1, length, length], made again in every layer."""

    def attend(self, layer: Cached, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert self.ends is not None
        length = q.shape[2]
        end = self.ends * layer.positions_per_frame // STEPS_PER_FRAME
        full = torch.zeros(1, 1, length, length, device=self.device)
        full.masked_fill_(self.positions(length) >= end, -torch.inf)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=full)


# The published code computes attention explicitly: scores, plus mask, softmax, times values.
_explicit_attention = sdpa_kernel(SDPBackend.MATH)


@torch.inference_mode()
@_explicit_attention
def published_encode(network: Tokenizer, wav: Tensor) -> Tensor:
    """Encodes a clip padded to a full window.

    Args:
        wav: float32 [samples], at most one window.

    Returns:
        int64 [codebooks, samples // 1280].
    """
    frames = network.config.context
    full = F.pad(wav, (0, frames * FRAME_SAMPLES - len(wav)))
    clip = _fully_masked(network, frames, -(-len(wav) // MEL_HOP) // 2)
    return network.encode(full[None], clip)[0, :, : len(wav) // FRAME_SAMPLES]


@torch.inference_mode()
@_explicit_attention
def published_decode(network: Tokenizer, codes: Tensor) -> Tensor:
    """Decodes at most one window, int64 [codebooks, frames], to [frames * frame_samples_out]."""
    frames = codes.shape[1]
    batch = codes[None].to(network.quantizer.codebooks.device)
    return network.decode(batch, _fully_masked(network, frames, frames * STEPS_PER_FRAME))[0]


def _fully_masked(network: Tokenizer, frames: int, end: int) -> FullyMasked:
    """Returns the timeline of one clip with `end` valid positions at 50 Hz."""
    device = network.quantizer.codebooks.device
    ends = torch.tensor([end], device=device)
    context = network.config.context
    return FullyMasked(frames, causal=False, context=context, device=device, ends=ends)
