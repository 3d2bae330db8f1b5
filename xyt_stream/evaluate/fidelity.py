"""How near one way of running a model comes to another."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Of one way of running a model to the reference.

    Args:
        equal_codes: of each book, the share of codes that are the reference's.
        snr_db: of its sound against the reference's, both decoded from the reference's codes.
    """

    equal_codes: list[float]
    snr_db: float


L = TypeVar("L", bound=Likeness)


@dataclass(frozen=True)
class Fidelity(Generic[L]):
    """Ways of running one model on one recording."""

    model: str
    device: str
    threads: int
    seconds: float  # of sound
    points: list[L]

    def flat(self) -> dict[str, Any]:
        """The figures for `--json`; an SNR is null where there is no difference."""
        points = [{**asdict(p), "snr_db": finite(p.snr_db)} for p in self.points]
        return {**vars(self), "points": points}

    def books(self) -> list[str]:
        """Titles for columns of `percent`."""
        return [str(book + 1) for book in range(len(self.points[0].equal_codes))]


def equal_shares(codes: Tensor, reference: Tensor) -> list[float]:
    """Of [codebooks, frames] twice: the share of equal codes in each book."""
    return [float(share) for share in (codes == reference).double().mean(1)]


def snr_db(sound: Tensor, reference: Tensor) -> float:
    """Power of the reference over that of the difference; infinite where there is none."""
    noise = float((sound - reference).double().square().sum())
    signal = float(reference.double().square().sum())
    return 10 * math.log10(signal / noise) if noise and signal else math.inf


def finite(decibels: float) -> float | None:
    """For JSON, which has no infinity."""
    return decibels if math.isfinite(decibels) else None


def percent(shares: list[float]) -> list[str]:
    """For tables, rounded down: 100 means all."""
    return [str(int(100 * share)) for share in shares]
