"""Defines the hyperparameters of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from xyt_stream.errors import ModelError

STEPS = 6500
TRAINED_RATE = 0.3


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters.

    Progress is the share of the training that is done, 0 to 1, counted in steps or in minutes.

    Args:
        steps, minutes: the length of the training; exactly one is set.
        rate: factor of the peak learning rates.
        codes_final: progress at which encoder and codebooks are frozen at their averaged weights,
            and only the decoder trains on (the paper's post-training). 0 keeps the codes of the
            initial network.
        quantizer_start: step at which k-means initialises the codebooks. Until then latents pass
            unquantized, so that k-means finds structure.
        adversary_start: progress at which the discriminators join.
        longer_start: progress at which crops become twice as long, and half as many.
        crops, crop_frames: in a batch, and frames in each of them.
        discriminated: share of a batch that the discriminators get.
        fewer_codebooks: share of crops decoded from a random number of first codebooks.
        teacher, text, adversary: weights of these losses.
        texts: clips with text in a batch.
        seed: seed of all random choices.
    """

    steps: int | None = None
    minutes: float | None = None
    rate: float = 1.0
    codes_final: float = 0.6
    quantizer_start: int = 400
    adversary_start: float = 0.4
    longer_start: float = 0.5
    crops: int = 16
    crop_frames: int = 25
    discriminated: float = 0.25
    fewer_codebooks: float = 0.25
    teacher: float = 0.3
    text: float = 0.05
    adversary: float = 0.1
    texts: int = 2
    seed: int = 0

    def progress(self, steps: int, seconds: float) -> float:
        """Returns the progress after so many steps that took so many seconds."""
        if self.steps is not None:
            return min(1.0, steps / self.steps)
        assert self.minutes is not None
        return min(1.0, seconds / 60 / self.minutes)


def recipe(
    *,
    steps: int | None,
    minutes: float | None,
    rate: float | None,
    trained_before: bool,
    keep_codes: bool,
    seed: int,
) -> Recipe:
    """Makes the recipe for the options of the command line.

    A trained network gets lower learning rates, and discriminators from the first step: without
    them its decoder would lose what earlier discriminators taught it.

    Raises:
        ModelError: the options contradict each other.
    """
    if keep_codes and not trained_before:
        raise ModelError("there are no codes to keep without a model to start from (--init)")
    if steps is not None and minutes is not None:
        raise ModelError("a training is so many steps or so many minutes long, not both")
    if minutes is not None and not minutes > 0:
        raise ModelError("a training takes more than 0 minutes (--minutes)")
    if rate is not None and not 0 < rate < math.inf:
        raise ModelError("the factor of the learning rates is a number above 0 (--rate)")
    if steps is None and minutes is None:
        steps = STEPS
    if rate is None:
        rate = TRAINED_RATE if trained_before else 1.0
    made = Recipe(steps=steps, minutes=minutes, rate=rate, seed=seed)
    if trained_before:
        made = replace(made, quantizer_start=0, adversary_start=0.0)
    if keep_codes:
        made = replace(made, codes_final=0.0)
    return made
