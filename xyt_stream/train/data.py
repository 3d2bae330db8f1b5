"""Speech clips in memory and random crops of them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE, Pcm16, to_float32
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
    """One 16 kHz mono clip as int16 [samples]."""
    samples, rate = soundfile.read(path, dtype="int16")
    if rate != INPUT_RATE or samples.ndim != 1:
        raise AudioError(f"{path} is not {INPUT_RATE} Hz mono; convert it first")
    return np.asarray(samples)


class Crops:
    """Endless random crops.

    Clips are kept as int16, about 115 MB an hour. Each top-level folder is drawn in proportion to
    the square root of its length, so that one long-winded speaker does not drown out many.

    Args:
        folder: where the clips are.
        frames: code frames in a crop. Shorter clips are followed by others of their folder.
        seed: the same seed draws the same crops.
    """

    def __init__(self, folder: Path, frames: int, seed: int) -> None:
        joined: dict[str, list[Pcm16]] = defaultdict(list)
        for path in find_clips(folder):
            joined[path.relative_to(folder).parts[0]].append(load_clip(path))
        self.tracks = [np.concatenate(clips) for _, clips in sorted(joined.items())]
        self.samples = frames * FRAME_SAMPLES
        self.hours = sum(map(len, self.tracks)) / INPUT_RATE / 3600
        if min(map(len, self.tracks)) <= Augment.source_samples(self.samples):
            raise AudioError(f"a folder in {folder} holds less than one crop of {frames} frames")
        weights = np.sqrt([len(track) for track in self.tracks])
        self.weights = weights / weights.sum()
        self.rng = np.random.default_rng(seed)
        self.augment = Augment(self.rng)

    def batch(self, size: int) -> Tensor:
        """float32 [size, samples], each crop augmented in its own way."""
        needed = Augment.source_samples(self.samples)
        crops = []
        for index in self.rng.choice(len(self.tracks), size, p=self.weights):
            start = self.rng.integers(len(self.tracks[index]) - needed)
            source = to_float32(self.tracks[index][start : start + needed])
            crops.append(self.augment(self.augment.speed(source, self.samples)))
        return torch.from_numpy(np.stack(crops))
