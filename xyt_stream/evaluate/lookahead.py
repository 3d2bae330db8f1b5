"""Measures a bidirectional model's fidelity to offline coding at several lookaheads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from rich.table import Table
from torch import Tensor

from xyt_stream.audio import Samples
from xyt_stream.evaluate.fidelity import Ablation, Fidelity, equal_shares, percent, snr_db
from xyt_stream.evaluate.timing import WARM_UP, Times, ran_on, summary, timed
from xyt_stream.streaming.clips import decode_clip, encode_clip

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec
    from xyt_stream.streaming.decoder import StreamDecoder
    from xyt_stream.streaming.encoder import StreamEncoder


@dataclass(frozen=True, kw_only=True)
class LookaheadPoint(Fidelity):
    """One lookahead against offline.

    Attributes:
        lookahead: frames.
        encoder_delay_ms, decoder_delay_ms: algorithmic delay.
        step_ms: time to encode and decode one frame.
    """

    lookahead: int
    encoder_delay_ms: float
    decoder_delay_ms: float
    step_ms: Times


class LookaheadAblation(Ablation[LookaheadPoint]):
    """Fidelity and step time by lookahead."""

    def tables(self) -> list[Table]:
        """Returns tables for the terminal: codes, sound, step time."""
        codes = Table(
            *("lookahead, frames", "encoder delay, ms"),
            *self.codebooks(),
            title=f"{self.model}: live codes equal to offline, % of each codebook",
        )
        sound = Table(
            *("lookahead, frames", "decoder delay, ms", "SNR, dB"),
            title="live against offline sound, decoded from the same codes",
        )
        steps = Table(
            *("lookahead, frames", "median, ms", "p99, ms"),
            title=f"one 80 ms step, encode + decode, on {ran_on(self.device, self.threads)}",
        )
        for point in self.points:
            frames = str(point.lookahead)
            codes.add_row(frames, f"{point.encoder_delay_ms:g}", *percent(point.equal_codes))
            sound.add_row(frames, f"{point.decoder_delay_ms:g}", f"{point.snr_db:.1f}")
            steps.add_row(frames, *(f"{ms:.2f}" for ms in point.step_ms.values()))
        return [codes, sound, steps]


def measure(
    codec: Codec,
    samples: Samples,
    lookaheads: Sequence[int],
    *,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> LookaheadAblation:
    """Codes a recording live at each lookahead, and offline as the reference.

    Args:
        samples: float32 [n] at `codec.input_rate`.
        lookaheads: frames.
        progress: wraps the lookaheads to show progress.

    Raises:
        ModelError: the codec does not allow such a lookahead.
    """
    codes = encode_clip(codec, samples, None)
    sound = decode_clip(codec, codes, None)
    return LookaheadAblation(
        model=codec.name,
        device=str(codec.device),
        threads=torch.get_num_threads(),
        seconds=len(samples) / codec.input_rate,
        points=[_point(codec, samples, codes, sound, n) for n in progress(lookaheads)],
    )


def _point(
    codec: Codec, samples: Samples, codes: Tensor, sound: Tensor, lookahead: int
) -> LookaheadPoint:
    encoder = codec.stream_encoder(lookahead=lookahead)
    decoder = codec.stream_decoder(lookahead=lookahead)
    live_codes, encoding = _run(encoder, torch.from_numpy(samples))
    parts, decoding = _run(decoder, codes)
    live_sound = torch.cat([*parts, decoder.tail()[0]])[decoder.delay_samples :].cpu()
    steps = [sum(pair) for pair in zip(encoding, decoding, strict=True)]
    return LookaheadPoint(
        lookahead=lookahead,
        encoder_delay_ms=1000 * encoder.delay,
        decoder_delay_ms=1000 * decoder.delay,
        equal_codes=equal_shares(torch.stack(live_codes, 1).cpu(), codes),
        snr_db=snr_db(live_sound, sound),
        step_ms=summary(steps[WARM_UP:] or steps),
    )


def _run(half: StreamEncoder | StreamDecoder, whole: Tensor) -> tuple[list[Tensor], list[float]]:
    """Returns each step's result and seconds; the steps are those of `push` and `flush`."""
    results, seconds = [], []
    for inputs in (partial(half.inputs, whole), half.last_inputs):
        for x in inputs():
            result, taken = timed(partial(half.step, x, half.all_slots), half.device)
            results.append(result[0])
            seconds.append(taken)
    return results, seconds
