"""Measures how much text the codes carry, by a small recognizer trained on codes alone.

The recognizer is trained with the CTC loss (Graves et al., 2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import track
from rich.table import Table
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, to_float32
from xyt_stream.train.text import CTCHead, Transcript, Transcripts

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

BATCH = 32  # clips
LEARNING_RATE = 2e-3  # of AdamW
CODEBOOKS = (1, 2, 4, 8)  # numbers of codebooks, from the first


@dataclass(frozen=True)
class TextErrors:
    """Character error rates on held-out clips.

    Attributes:
        clips, kept: clips for training, and held out.
        steps: training steps of each recognizer.
        error_rates: number of codebooks, from the first -> character error rate.
    """

    model: str
    clips: int
    kept: int
    steps: int
    error_rates: dict[int, float]

    def flat(self) -> dict[str, Any]:
        """Returns the figures for `--json`."""
        rates = {f"text_error_{count}": rate for count, rate in self.error_rates.items()}
        return {"model": self.model, "clips": self.clips, "kept": self.kept, **rates}

    def table(self) -> Table:
        """Returns the figures for the terminal."""
        table = Table(
            *("codebooks, from the first", "character error rate, %"),
            title=f"{self.model}: text recognized from codes alone, {self.steps} steps on "
            f"{self.clips} clips, {self.kept} held out",
        )
        for count, rate in self.error_rates.items():
            table.add_row(str(count), f"{100 * rate:.1f}")
        return table


def measure(codec: Codec, data: Path, *, steps: int = 1500, seed: int = 0) -> TextErrors:
    """Trains one recognizer for each number of codebooks, on frozen codes.

    Args:
        data: folder with a metadata.csv (name|sentence); one clip in twenty is held out.

    Raises:
        AudioError: there is no text.
    """
    texts = Transcripts(data, size=BATCH, seed=seed)
    train = [(clip, _codes(codec, clip)) for clip in track(texts.clips, "encoding")]
    kept = [(clip, _codes(codec, clip)) for clip in texts.kept]
    rates = {}
    for count in (count for count in CODEBOOKS if count <= codec.num_codebooks):
        pairs = [(clip, _latents(codec, codes[:count])) for clip, codes in train]
        recognizer = _train(pairs, len(texts.alphabet), steps, seed)
        errors = [
            (
                recognizer.error_rate(_latents(codec, codes[:count])[None], [clip]),
                len(clip.characters),
            )
            for clip, codes in kept
        ]
        rates[count] = sum(rate * n for rate, n in errors) / sum(n for _, n in errors)
    return TextErrors(codec.name, len(train), len(kept), steps, rates)


def _codes(codec: Codec, clip: Transcript) -> Tensor:
    whole = len(clip.samples) // FRAME_SAMPLES * FRAME_SAMPLES
    return codec.encode(to_float32(clip.samples[:whole]))


def _latents(codec: Codec, codes: Tensor) -> Tensor:
    """Sums the codes' vectors over the codebooks; returns float32 [frames, dim]."""
    codebooks = codec.network.quantizer.codebooks
    return torch.stack(
        [codebook[code] for codebook, code in zip(codebooks, codes, strict=False)]
    ).sum(0)


def _train(pairs: list[tuple[Transcript, Tensor]], alphabet: int, steps: int, seed: int) -> CTCHead:
    torch.manual_seed(seed)
    recognizer = CTCHead(pairs[0][1].shape[1], alphabet)
    optimizer = torch.optim.AdamW(recognizer.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = [pairs[i] for i in torch.randint(len(pairs), (BATCH,)).tolist()]
        latents = torch.nn.utils.rnn.pad_sequence([latent for _, latent in batch], batch_first=True)
        loss = recognizer.loss(latents, [clip for clip, _ in batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return recognizer.eval()
