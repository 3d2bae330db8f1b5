"""Speech clips in memory and random crops of them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE, Pcm16, read_audio, to_float32, to_int16
from xyt_stream.errors import AudioError
from xyt_stream.train.augment import Augment

SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}


def find_clips(folder: Path) -> list[Path]:
    """Every sound file below `folder`, sorted; AudioError when there is none."""
    clips = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not clips:
        raise AudioError(f"{folder} holds no sound files ({', '.join(sorted(SUFFIXES))})")
    return clips


def load_clip(path: Path) -> Pcm16:
    """One clip, whatever its rate and channels, as int16 [samples] at 16 kHz."""
    return to_int16(read_audio(path, INPUT_RATE)[0])


class Crops(Dataset[Tensor]):
    """Random crops: item number i is the batch of step i, always the same one.

    So a training that goes on after a stop hears what it would have heard, and any number of
    workers can prepare batches. Clips are kept as int16, about 115 MB an hour. Each top-level
    folder is drawn in proportion to the square root of its length, so that one long-winded speaker
    does not drown out many.

    Args:
        folder: where the clips are.
        frames: code frames in a crop. Shorter clips are followed by others of their folder.
        size: crops in a batch.
        seed: the same seed draws the same crops.
    """

    def __init__(self, folder: Path, *, frames: int, size: int, seed: int) -> None:
        joined: dict[str, list[Pcm16]] = defaultdict(list)
        for path in find_clips(folder):
            inside = path.relative_to(folder).parts
            joined[inside[0] if len(inside) > 1 else ""].append(load_clip(path))
        self.tracks = [np.concatenate(clips) for _, clips in sorted(joined.items())]
        self.size, self.seed = size, seed
        self.frames, self.samples = frames, frames * FRAME_SAMPLES
        self.hours = sum(map(len, self.tracks)) / INPUT_RATE / 3600
        if min(map(len, self.tracks)) <= Augment.source_samples(self.samples):
            raise AudioError(f"a folder in {folder} holds less than one crop of {frames} frames")
        weights = np.sqrt([len(track) for track in self.tracks])
        self.weights = weights / weights.sum()

    def __getitem__(self, step: int) -> Tensor:
        """float32 [size, samples], each crop augmented in its own way."""
        rng = np.random.default_rng((self.seed, step))
        augment = Augment(rng)
        needed = augment.source_samples(self.samples)
        crops = []
        for index in rng.choice(len(self.tracks), self.size, p=self.weights):
            start = rng.integers(len(self.tracks[index]) - needed)
            source = to_float32(self.tracks[index][start : start + needed])
            crops.append(augment(augment.speed(source, self.samples)))
        return torch.from_numpy(np.stack(crops))
