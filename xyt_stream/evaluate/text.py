"""How much of what is said can be read off the codes: a small reader trained on them alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import track
from rich.table import Table
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, to_float32
from xyt_stream.train.text import Reader, Transcript, Transcripts

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

BATCH = 32  # clips in a step
RATE = 2e-3  # of AdamW
BOOKS = (1, 2, 4, 8)  # the first so many codebooks


@dataclass(frozen=True)
class Legibility:
    """Character error rates on clips that the reader never saw, for the first so many books."""

    model: str
    clips: int
    kept: int
    steps: int
    error_rates: dict[int, float]

    def flat(self) -> dict[str, Any]:
        """The figures for `--json`."""
        rates = {f"text_error_{books}": rate for books, rate in self.error_rates.items()}
        return {"model": self.model, "clips": self.clips, "kept": self.kept, **rates}

    def table(self) -> Table:
        """The figures for the terminal."""
        table = Table(
            *("first codebooks", "characters wrong"),
            title=f"{self.model}: text read off codes alone, {self.steps} steps on {self.clips} "
            f"clips, {self.kept} kept out",
        )
        for books, rate in self.error_rates.items():
            table.add_row(str(books), f"{100 * rate:.1f} %")
        return table


def measure(codec: Codec, data: Path, *, steps: int = 1500, seed: int = 0) -> Legibility:
    """Trains one reader for each number of codebooks on frozen codes.

    Args:
        data: folder with a metadata.csv (name|sentence); one clip in twenty is kept out.

    Raises:
        AudioError: no text there.
    """
    texts = Transcripts(data, size=BATCH, seed=seed)
    learnt = [(clip, _codes(codec, clip)) for clip in track(texts.clips, "coding")]
    kept = [(clip, _codes(codec, clip)) for clip in texts.kept]
    rates = {}
    for books in (books for books in BOOKS if books <= codec.num_codebooks):
        heard = [(clip, _latents(codec, codes[:books])) for clip, codes in learnt]
        reader = _train(heard, len(texts.alphabet), steps, seed)
        read = [
            (reader.error_rate(_latents(codec, codes[:books])[None], [clip]), len(clip.characters))
            for clip, codes in kept
        ]
        rates[books] = sum(rate * n for rate, n in read) / sum(n for _, n in read)
    return Legibility(codec.name, len(learnt), len(kept), steps, rates)


def _codes(codec: Codec, clip: Transcript) -> Tensor:
    whole = len(clip.samples) // FRAME_SAMPLES * FRAME_SAMPLES
    return codec.encode(to_float32(clip.samples[:whole]))


def _latents(codec: Codec, codes: Tensor) -> Tensor:
    """The sum of the codes' vectors, [frames, dim]."""
    books = codec.network.quantizer.codebooks
    return torch.stack([book[code] for book, code in zip(books, codes, strict=False)]).sum(0)


def _train(heard: list[tuple[Transcript, Tensor]], alphabet: int, steps: int, seed: int) -> Reader:
    torch.manual_seed(seed)
    reader = Reader(heard[0][1].shape[1], alphabet)
    optimizer = torch.optim.AdamW(reader.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = [heard[i] for i in torch.randint(len(heard), (BATCH,)).tolist()]
        latents = torch.nn.utils.rnn.pad_sequence([latent for _, latent in batch], batch_first=True)
        loss = reader.loss(latents, [clip for clip, _ in batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return reader.eval()
