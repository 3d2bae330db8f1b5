"""Times of steps, and how they are told."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypedDict, TypeVar

import numpy as np
import torch

T = TypeVar("T")
WARM_UP = 10  # steps, not timed


class Times(TypedDict):
    """Of many steps, ms."""

    median: float
    p99: float


def warm_up(lookahead: int) -> int:
    """Steps until both halves of a stream are warm and have the future that they wait for."""
    return WARM_UP + 2 * lookahead + 1


def summary(seconds: list[float]) -> Times:
    """Median and 99th percentile of step times, in ms."""
    median, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return {"median": float(median), "p99": float(p99)}


def ran_on(device: str, threads: int) -> str:
    """For titles: "cpu, 1 thread"."""
    return f"{device}, {threads} thread{'s' * (threads != 1)}"


def timed(step: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """What a step returns, and the seconds until its device was done with it."""
    start = time.perf_counter()
    result = step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - start
