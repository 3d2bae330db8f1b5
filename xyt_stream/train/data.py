"""Draws random crops of the training speech, with the teacher's features of them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xyt_stream.audio import FRAME_SAMPLES, to_float32
from xyt_stream.errors import AudioError
from xyt_stream.train.augment import Augment
from xyt_stream.train.corpus import Corpus

MAX_WORKERS = 8
SELDOM = 0.25  # factor of the weights of sources that are drawn seldom

T = TypeVar("T")


class Batch(NamedTuple):
    """Crops of one step.

    Args:
        wav: float32 [crops, samples].
        features: the teacher's features, float32 [crops, frames, channels]; None: no teacher.
        known: which frames have features, bool [crops, frames].
    """

    wav: Tensor
    features: Tensor | None
    known: Tensor | None


class Request(NamedTuple):
    """Names a batch. Equal requests give equal crops."""

    step: int
    crops: int
    frames: int


class Crops(Dataset[Batch]):
    """Draws random crops, balanced by source and speaker.

    A batch depends on the seed and the request only, so a resumed training sees the batches it
    would have seen, and any number of workers can prepare them. The weight of a speaker is the
    square root of his minutes; the weight of a source is the square root of the sum over its
    speakers. So neither one speaker with hours nor a thousand with one word each fill the batches.

    Args:
        corpus: the speech.
        features: the teacher's, [frames of the corpus, channels]; missing ones are zero.
        seldom: sources that are drawn a quarter as often, such as single words.
        seed: seed of all random choices.
    """

    def __init__(
        self,
        corpus: Corpus,
        features: npt.NDArray[np.float16] | None,
        *,
        seldom: Collection[str] = (),
        seed: int,
    ) -> None:
        self.samples, self.features, self.seed = corpus.samples, features, seed
        stretches: dict[tuple[str, str], tuple[int, int]] = {}
        for clip in corpus.clips:  # a speaker's clips follow one another
            key = (clip.source, clip.speaker)
            start, _ = stretches.get(key, (clip.start, 0))
            stretches[key] = (start, clip.end)
        sources: dict[str, float] = defaultdict(float)
        lengths = {key: float(end - start) ** 0.5 for key, (start, end) in stretches.items()}
        for (source, _), length in lengths.items():
            sources[source] += length
        unknown = set(seldom) - set(sources)
        if unknown:
            raise AudioError(f"there is no folder {', '.join(sorted(unknown))} in the data")
        factors = {source: SELDOM if source in seldom else 1.0 for source in sources}
        weights = [
            length / sources[key[0]] ** 0.5 * factors[key[0]] for key, length in lengths.items()
        ]
        self.stretches = [*stretches.values()]
        self.weights = np.array(weights) / sum(weights)
        shares: dict[str, float] = defaultdict(float)
        for (source, _), weight in zip(stretches, self.weights, strict=True):
            shares[source] += float(weight)
        self.shares = dict(shares)  # of crops, by source

    def __getitem__(self, request: Request) -> Batch:
        """Returns the batch; each crop is augmented independently."""
        step, count, frames = request
        samples = frames * FRAME_SAMPLES
        needed = Augment.source_samples(samples)
        if needed > len(self.samples):
            raise AudioError(f"the data is shorter than one crop of {frames} frames")
        rng = np.random.default_rng((self.seed, step))
        augment = Augment(rng)
        crops, features = [], []
        for index in rng.choice(len(self.stretches), count, p=self.weights):
            first, end = self.stretches[index]
            # If the speaker has less than a crop, the next speaker's clips follow.
            start = int(rng.integers(first, max(first + 1, end - needed)))
            start = min(start, len(self.samples) - needed)
            factor, sped = augment.speed(to_float32(self.samples[start : start + needed]), samples)
            crops.append(augment(sped))
            if self.features is not None:
                features.append(_at(self.features, start / FRAME_SAMPLES, factor, frames))
        wav = torch.from_numpy(np.stack(crops))
        if self.features is None:
            return Batch(wav, None, None)
        found = torch.from_numpy(np.stack(features))
        silent = wav.view(count, frames, FRAME_SAMPLES).eq(0).all(2)
        return Batch(wav, found, found.ne(0).any(2) & ~silent)


def _at(
    features: npt.NDArray[np.float16], start: float, factor: float, frames: int
) -> npt.NDArray[np.float32]:
    """Interpolates features for a crop from frame `start` on that is played `factor` times faster.

    Returns:
        [frames, channels], of the middle of each frame of the crop.
    """
    places = np.maximum(start + (np.arange(frames) + 0.5) * factor - 0.5, 0.0)
    before = places.astype(np.int64)
    after = np.minimum(before + 1, len(features) - 1)
    share = (places - before).astype(np.float32)[:, None]
    found: npt.NDArray[np.float32] = features[before] * (1 - share) + features[after] * share
    both = features[before].any(1) & features[after].any(1)
    found[~both] = 0
    return found


def load(data: Dataset[T], keys: Iterator[Any], device: torch.device) -> Iterator[T]:
    """Yields the items of these keys; worker processes prepare them if there is a GPU."""
    workers = min(MAX_WORKERS, os.cpu_count() or 1) if device.type == "cuda" else 0
    sampler: Any = _Sampler(keys)
    loader = DataLoader(
        data, batch_size=None, sampler=sampler, num_workers=workers, pin_memory=workers > 0
    )
    return iter(loader)


class _Sampler:
    """Draws keys from an iterator only when they are needed."""

    def __init__(self, keys: Iterator[Any]) -> None:
        self.keys = keys

    def __iter__(self) -> Iterator[Any]:
        return self.keys
