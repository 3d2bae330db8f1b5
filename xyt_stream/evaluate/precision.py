"""Measures how half precision changes codes, sound and time, offline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from rich.table import Table

from xyt_stream.audio import Samples
from xyt_stream.evaluate.fidelity import Ablation, Fidelity, equal_shares, percent, snr_db
from xyt_stream.evaluate.timing import ran_on, timed
from xyt_stream.model.precision import PRECISIONS
from xyt_stream.streaming.clips import decode_clip, encode_clip

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec


@dataclass(frozen=True, kw_only=True)
class PrecisionPoint(Fidelity):
    """One precision against float32.

    Attributes:
        dtype: of the stacks, or of the weights too.
        seconds: time to encode and decode the recording.
    """

    dtype: str
    seconds: float


class PrecisionAblation(Ablation[PrecisionPoint]):
    """Fidelity and time by precision."""

    def table(self) -> Table:
        """Returns the figures for the terminal."""
        table = Table(
            "precision",
            *self.codebooks(),
            *("SNR, dB", "encode + decode, s"),
            title=f"{self.model} on {ran_on(self.device, self.threads)}, {self.seconds:.1f} s: "
            "codes equal to float32, % of each codebook; sound from the same codes",
        )
        for point in self.points:
            figures = (f"{point.snr_db:.1f}", f"{point.seconds:.2f}")
            table.add_row(point.dtype, *percent(point.equal_codes), *figures)
        return table


def measure(codec: Codec, halved: Codec, samples: Samples) -> PrecisionAblation:
    """Codes a recording in each precision, offline.

    Args:
        halved: the same model with weights in bfloat16.
        samples: float32 [n] at `codec.input_rate`.
    """
    reference = encode_clip(codec, samples, None)
    sound = decode_clip(codec, reference, None)
    points = []
    ways = {str(dtype).removeprefix("torch."): (codec, dtype) for dtype in PRECISIONS}
    ways["bfloat16 weights"] = (halved, torch.float32)
    for name, (model, dtype) in ways.items():
        encode = partial(encode_clip, model, samples, None, dtype)
        decode = partial(decode_clip, model, reference, None, dtype)
        codes, encoding = timed(encode, codec.device)
        heard, decoding = timed(decode, codec.device)
        points.append(
            PrecisionPoint(
                dtype=name,
                equal_codes=equal_shares(codes, reference),
                snr_db=snr_db(heard, sound),
                seconds=encoding + decoding,
            )
        )
    return PrecisionAblation(
        model=codec.name,
        device=str(codec.device),
        threads=torch.get_num_threads(),
        seconds=len(samples) / codec.input_rate,
        points=points,
    )
