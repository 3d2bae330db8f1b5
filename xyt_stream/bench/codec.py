"""This codec beside Mimi, the streaming codec of Moshi: time per 80 ms step, on one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor

from xyt_stream.bench.timing import Times, summary, timed, warm_up

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

# The package pins an older torch than it needs, so its needs are named here one by one.
GET_MOSHI = "pip install --no-deps moshi && pip install einops sentencepiece 'huggingface_hub<1'"


@dataclass(frozen=True)
class StepPair:
    """A codec's two steps, each for one 80 ms frame of one stream."""

    encode: Callable[[], Tensor]  # gives codes
    decode: Callable[[Tensor], Tensor]  # takes them


@dataclass(frozen=True)
class StepTimes:
    """Of one codec."""

    encode: Times
    decode: Times
    both: Times


@dataclass(frozen=True)
class Comparison:
    """This codec's times, and Mimi's where the moshi package is installed."""

    model: str
    device: str
    ours: StepTimes
    mimi: StepTimes | None

    @property
    def ratio(self) -> float | None:
        """Mimi's median time for this codec's, encoding and decoding together."""
        return self.mimi.both["median"] / self.ours.both["median"] if self.mimi else None

    @property
    def note(self) -> str:
        """How the two compare, or what it takes to compare them."""
        if self.ratio is None:
            return f"for Mimi beside it: {GET_MOSHI}"
        return f"Mimi takes {self.ratio:.1f} times as long"

    def flat(self) -> dict[str, Any]:
        """The figures for `--json`."""
        figures: dict[str, Any] = {"model": self.model, "device": self.device, "threads": 1}
        for prefix, times in (("", self.ours), ("mimi_", self.mimi)):
            if times:
                figures[f"{prefix}step_ms"] = times.both
                figures[f"{prefix}encode_ms"] = times.encode
                figures[f"{prefix}decode_ms"] = times.decode
        if self.ratio is not None:
            figures["mimi_ratio"] = self.ratio
        return figures

    def table(self) -> Table:
        """The figures for the terminal."""
        table = Table(
            *("codec", "encode, ms", "decode, ms", "both, ms", "p99, ms"),
            title=f"one 80 ms step on {self.device}, one thread: medians",
        )
        for name, times in ((self.model, self.ours), ("mimi", self.mimi)):
            if times:
                medians = (times.encode["median"], times.decode["median"], times.both["median"])
                table.add_row(name, *(f"{value:.2f}" for value in (*medians, times.both["p99"])))
        return table


def compare(codec: Codec, *, frames: int = 200, lookahead: int = 0) -> Comparison:
    """Times the steps of both codecs in turns, so that a busy moment hits both.

    Args:
        frames: steps to time.
        lookahead: frames of the future that each of this codec's steps sees.
    """
    skipped = warm_up(lookahead)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours, mimi = _ours(codec, lookahead), _mimi(codec.device)
        pairs = [ours] + ([mimi] if mimi else [])
        taken: list[list[tuple[float, float]]] = [[] for _ in pairs]
        with torch.inference_mode():
            for _ in range(skipped + frames):
                for pair, times in zip(pairs, taken, strict=True):
                    codes, encoding = timed(pair.encode, codec.device)
                    _, decoding = timed(partial(pair.decode, codes), codec.device)
                    times.append((encoding, decoding))
    finally:
        torch.set_num_threads(threads)
    results = [_step_times(times[skipped:]) for times in taken]
    return Comparison(
        model=codec.name,
        device=str(codec.device),
        ours=results[0],
        mimi=results[1] if mimi else None,
    )


def _step_times(times: list[tuple[float, float]]) -> StepTimes:
    return StepTimes(
        encode=summary([encoding for encoding, _ in times]),
        decode=summary([decoding for _, decoding in times]),
        both=summary([encoding + decoding for encoding, decoding in times]),
    )


def _ours(codec: Codec, lookahead: int) -> StepPair:
    encoder = codec.stream_encoder(lookahead=lookahead)
    decoder = codec.stream_decoder(lookahead=lookahead)
    noise = torch.randn(codec.frame_samples_in) / 10
    return StepPair(lambda: encoder.push(noise), decoder.push)


def _mimi(device: torch.device) -> StepPair | None:
    """Mimi with eight codebooks and random weights: arithmetic takes as long for any."""
    try:
        from moshi.models.loaders import get_mimi
    except ImportError:
        return None
    mimi = get_mimi(None, device=device, num_codebooks=8)
    mimi.streaming_forever(1)
    noise = torch.randn(1, 1, mimi.frame_size, device=device) / 10
    return StepPair(lambda: mimi.encode(noise), mimi.decode)
