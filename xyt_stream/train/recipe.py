"""The numbers a training is made with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xyt_stream.errors import ModelError

STEPS = 6500
TRAINED_RATE = 0.3


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Progress is the share of the whole training that is done, 0 to 1, of steps or of minutes.

    Args:
        steps, minutes: how long it is; one of the two.
        rate: factor of the peak learning rates.
        codes_final: progress at which encoder and codebooks are frozen at their averaged weights,
            and only the decoder trains on (the paper's post-training). 0 keeps the codes of the
            network that training starts from.
        quantizer_start: steps before the quantizer joins a network that starts from nothing; until
            then latents pass unquantized, so that k-means finds something worth dividing.
        adversary_start: progress at which the discriminators join.
        longer_start: progress at which crops become twice as long, and half as many.
        crops, crop_frames: in a batch, and frames in each of them.
        discriminated: crops of a batch that the discriminators see.
        fewer_codebooks: share of crops decoded from a random number of first codebooks.
        teacher, text, adversary: weights of these losses.
        texts: clips with text in a batch.
        seed: of weights, crops and everything else drawn.
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
    discriminated: int = 4
    fewer_codebooks: float = 0.25
    teacher: float = 0.3
    text: float = 0.05
    adversary: float = 0.1
    texts: int = 2
    seed: int = 0

    def progress(self, steps: int, seconds: float) -> float:
        """After so many steps that took so many seconds."""
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
    """The recipe for these wishes.

    A network that was trained before is warmed up more gently, and by discriminators at once, or
    its decoder would forget what earlier ones have taught it.

    Raises:
        ModelError: the wishes do not fit together.
    """
    if keep_codes and not trained_before:
        raise ModelError("there are no codes to keep without a model to start from (--init)")
    if steps is not None and minutes is not None:
        raise ModelError("a training is so many steps or so many minutes long, not both")
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
