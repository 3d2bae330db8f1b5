"""Compares the codes and sound of one way of running a model with those of another."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """The agreement of one way of running a model with the reference.

    Args:
        equal_codes: for each codebook, the share of codes equal to the reference's.
        snr_db: signal-to-noise ratio of the sound against the reference's sound, both decoded from
            the reference's codes.
    """

    equal_codes: list[float]
    snr_db: float


F = TypeVar("F", bound=Fidelity)


@dataclass(frozen=True)
class Ablation(Generic[F]):
    """Several ways of running one model on one recording.

    Attributes:
        seconds: length of the recording.
        points: one for each way.
    """

    model: str
    device: str
    threads: int
    seconds: float
    points: list[F]

    def flat(self) -> dict[str, Any]:
        """Returns the figures for `--json`; an SNR is null where there is no difference."""
        points = [{**asdict(p), "snr_db": finite(p.snr_db)} for p in self.points]
        return {**vars(self), "points": points}

    def codebooks(self) -> list[str]:
        """Returns the column titles for `percent`: "1", "2", ..."""
        return [str(codebook + 1) for codebook in range(len(self.points[0].equal_codes))]


def equal_shares(codes: Tensor, reference: Tensor) -> list[float]:
    """Returns each codebook's share of equal codes; both are int64 [codebooks, frames]."""
    return [float(share) for share in (codes == reference).double().mean(1)]


def snr_db(sound: Tensor, reference: Tensor) -> float:
    """Returns the reference's power over the difference's; infinite without a difference."""
    noise = float((sound - reference).double().square().sum())
    signal = float(reference.double().square().sum())
    return 10 * math.log10(signal / noise) if noise and signal else math.inf


def finite(decibels: float) -> float | None:
    """Returns None for infinity, which JSON does not have."""
    return decibels if math.isfinite(decibels) else None


def percent(shares: list[float]) -> list[str]:
    """Formats shares for tables, rounded down, so that 100 means all."""
    return [str(int(100 * share)) for share in shares]
