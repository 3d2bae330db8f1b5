"""Computes the text loss: a CTC head reads characters from quantized latents."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from xyt_stream.audio import FRAME_SAMPLES, SUFFIXES, Pcm16, to_float32
from xyt_stream.errors import AudioError
from xyt_stream.train.corpus import load_clip

STEPS = 4  # places for a character in each frame; speech has more than 12.5 characters a second
HIDDEN = 256
MAX_FRAMES = 75  # longer clips are left out: a batch is as long as its longest
HELD_OUT = 20  # one clip in so many is kept for `error_rate`


class Transcript(NamedTuple):
    """A clip, int16 [samples], and its characters, int64 [length], from 1 (0 is the blank)."""

    samples: Pcm16
    characters: Tensor


class Transcripts(Dataset[tuple[Tensor, list[Transcript]]]):
    """Clips with known text, from every metadata.csv (name|sentence) below a folder.

    As with `Crops`, item number i is the batch of step i.

    Args:
        folder: the training data.
        size: clips in a batch.
        seed: the same seed draws the same batches.
    """

    def __init__(self, folder: Path, *, size: int, seed: int) -> None:
        lines = {}
        for table in sorted(folder.rglob("metadata.csv")):
            for line in table.read_text(encoding="utf-8").splitlines():
                name, _, sentence = line.partition("|")
                lines[table.parent / name] = sentence.casefold()
        if not lines:
            raise AudioError(f"{folder} holds no metadata.csv with sentences")
        self.alphabet = sorted(set("".join(lines.values())))
        number = {character: i for i, character in enumerate(self.alphabet, start=1)}
        clips = []
        for stem, sentence in sorted(lines.items()):
            path = next((p for p in map(stem.with_suffix, SUFFIXES) if p.is_file()), None)
            if path is not None:
                characters = torch.tensor([number[c] for c in sentence])
                with suppress(AudioError):  # the corpus was packed without it, which says so
                    clips.append(Transcript(load_clip(path), characters))
        clips = [clip for clip in clips if self._fits(clip)]
        self.kept = clips[::HELD_OUT]
        self.clips = [clip for i, clip in enumerate(clips) if i % HELD_OUT]
        self.size, self.seed = size, seed

    @staticmethod
    def _fits(clip: Transcript) -> bool:
        frames = len(clip.samples) // FRAME_SAMPLES
        return len(clip.characters) < frames * STEPS and frames <= MAX_FRAMES

    def __getitem__(self, step: int) -> tuple[Tensor, list[Transcript]]:
        """Returns float32 [size, samples of the longest] and the clips."""
        rng = np.random.default_rng((self.seed, step))
        return collate([self.clips[i] for i in rng.choice(len(self.clips), self.size)])


def collate(clips: list[Transcript]) -> tuple[Tensor, list[Transcript]]:
    """Pads clips with zeros to whole frames of the longest: float32 [clips, samples]."""
    longest = max(len(clip.samples) for clip in clips)
    wav = np.zeros((len(clips), -(-longest // FRAME_SAMPLES) * FRAME_SAMPLES), np.float32)
    for row, clip in zip(wav, clips, strict=True):
        row[: len(clip.samples)] = to_float32(clip.samples)
    return torch.from_numpy(wav), clips


class CTCHead(nn.Module):
    """Predicts characters from quantized frames; used in training only.

    Args:
        dim: channels of the quantized latent.
        characters: in the alphabet.
    """

    def __init__(self, dim: int, characters: int) -> None:
        super().__init__()
        self.spread = nn.Linear(dim, STEPS * HIDDEN)
        self.out = nn.Linear(HIDDEN, characters + 1)

    def forward(self, latent: Tensor) -> Tensor:
        """[batch, frames, dim] -> log probabilities [batch, STEPS * frames, characters + 1]."""
        batch, frames, _ = latent.shape
        hidden = F.gelu(self.spread(latent)).view(batch, STEPS * frames, HIDDEN)
        return F.log_softmax(self.out(hidden), dim=-1)

    def loss(self, latent: Tensor, clips: list[Transcript]) -> Tensor:
        """Returns the CTC loss (Graves et al., 2006) per character."""
        frames = [len(clip.samples) // FRAME_SAMPLES * STEPS for clip in clips]
        lengths = [len(clip.characters) for clip in clips]
        return F.ctc_loss(
            self(latent).transpose(0, 1),
            torch.cat([clip.characters for clip in clips]).to(latent.device),
            torch.tensor(frames),
            torch.tensor(lengths),
            zero_infinity=True,
        )

    @torch.no_grad()
    def error_rate(self, latent: Tensor, clips: list[Transcript]) -> float:
        """Returns the character error rate of the best path: edits over characters."""
        edits = 0
        for best, clip in zip(self(latent).argmax(2), clips, strict=True):
            path = best[: len(clip.samples) // FRAME_SAMPLES * STEPS].unique_consecutive()
            edits += edit_distance(path[path > 0].tolist(), clip.characters.tolist())
        return edits / sum(len(clip.characters) for clip in clips)


def edit_distance(a: list[int], b: list[int]) -> int:
    """Returns the least number of edits that turn `a` into `b` (Levenshtein distance)."""
    row = np.arange(len(b) + 1)
    target = np.array(b)
    for i, item in enumerate(a, start=1):
        # Without insertions first; those then run along the row, one for each place.
        best = np.minimum(row[1:] + 1, row[:-1] + (target != item))
        full = np.concatenate([[i], best])
        places = np.arange(len(full))
        row = np.minimum.accumulate(full - places) + places
    return int(row[-1])
