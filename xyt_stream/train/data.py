"""Random crops of the training speech, with what the teacher heard in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from xyt_stream.audio import FRAME_SAMPLES, to_float32
from xyt_stream.errors import AudioError
from xyt_stream.train.augment import Augment
from xyt_stream.train.corpus import Corpus

SELDOM = 0.25  # of their weight is left to sources that are drawn seldom


class Batch(NamedTuple):
    """Crops.

    Args:
        wav: float32 [crops, samples].
        features: the teacher's, float32 [crops, frames, channels]; None without a teacher.
        known: which of them there are, bool [crops, frames].
    """

    wav: Tensor
    features: Tensor | None
    known: Tensor | None


class Request(NamedTuple):
    """Which batch: the same request brings the same crops."""

    step: int
    crops: int
    frames: int


class Crops(Dataset[Batch]):
    """Random crops, drawn by source and speaker.

    A training that goes on after a stop hears what it would have heard, and any number of workers
    can prepare batches. A speaker's weight is the square root of his length, and a source's the
    square root of its speakers' sum, so that neither one long-winded speaker nor a thousand that
    say a word each fill the batches.

    Args:
        corpus: where the clips are.
        features: the teacher's, [frames of the corpus, channels], zeros where there are none.
        seldom: sources (folders at the top of the data) drawn a quarter as often, such as words.
        seed: the same seed draws the same crops.
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
        """Crops, each augmented in its own way."""
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
            # Where a speaker is shorter than a crop, the next one follows.
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
    """The teacher's features of a crop that begins at frame `start`, played `factor` as fast.

    Between two frames they are interpolated, by the middles of frames.
    """
    places = np.maximum(start + (np.arange(frames) + 0.5) * factor - 0.5, 0.0)
    before = places.astype(np.int64)
    after = np.minimum(before + 1, len(features) - 1)
    share = (places - before).astype(np.float32)[:, None]
    found: npt.NDArray[np.float32] = features[before] * (1 - share) + features[after] * share
    both = features[before].any(1) & features[after].any(1)
    found[~both] = 0
    return found
