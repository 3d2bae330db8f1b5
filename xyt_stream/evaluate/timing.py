"""Times steps and summarizes their times."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypedDict, TypeVar

import numpy as np
import torch

T = TypeVar("T")
WARM_UP = 10  # steps before the timed ones


class Times(TypedDict):
    """Median and 99th percentile over many steps, ms."""

    median: float
    p99: float


def warm_up(lookahead: int) -> int:
    """Returns the steps until encoder and decoder are warm and their lookahead is filled."""
    return WARM_UP + 2 * lookahead + 1


def summary(seconds: list[float]) -> Times:
    """Summarizes step times, given in seconds."""
    median, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return {"median": float(median), "p99": float(p99)}


def ran_on(device: str, threads: int) -> str:
    """Formats a title: "cpu, 1 thread"."""
    return f"{device}, {threads} thread{'s' * (threads != 1)}"


def timed(
    step: Callable[[], T], device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> tuple[T, float]:
    """Runs a step; returns its result and the seconds until the device had finished."""
    start = clock()
    result = step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, clock() - start
