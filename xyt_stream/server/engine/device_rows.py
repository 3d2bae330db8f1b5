"""Selects the rows that a step on the device computes, and moves their data there and back.

A thread that calls torch gives the interpreter's lock away for each operation and waits to get it
back, which beside a busy event loop takes milliseconds. So on a CPU a step is one such call.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from xyt_stream.server.engine.work import Ints
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.transfers import Transfers

Rows = npt.NDArray[Any]


class CoderStep(Protocol):
    """A step of an encoder or a decoder; see StreamEncoder."""

    def __call__(self, x: Tensor, active: Tensor, chosen: Tensor | None = None, /) -> Tensor:
        """Takes one step; returns its results by rows."""


class DeviceRows(Protocol):
    """Runs steps of some rows."""

    def run(self, step: CoderStep, given: Tensor, rows: Ints, staging: Tensor) -> Rows:
        """Takes one step.

        Args:
            step: of all slots.
            given: its input, [slots, ...], in memory of the host.
            rows: that are computed, int64 [any number of them], in order.
            staging: receives results where they come from another device, [slots, ...].

        Returns:
            The results of these rows alone, in an array that nothing else changes.
        """


class ChosenRows:
    """Steps these rows and no others: on a CPU each extra row costs time.

    Args:
        slots: number of streams.
    """

    def __init__(self, slots: int) -> None:
        self._active = [torch.ones(count, dtype=torch.bool) for count in range(slots + 1)]

    def run(self, step: CoderStep, given: Tensor, rows: Ints, staging: Tensor) -> Rows:
        """Takes one step; see DeviceRows."""
        count, fed = len(rows), given.numpy()
        fed = fed[:count] if rows[-1] == count - 1 else fed[rows]
        found: Rows = step(
            torch.from_numpy(fed), self._active[count], torch.from_numpy(rows)
        ).numpy()
        return found


class FirstRows:
    """Steps all rows up to the last of these: on a GPU that costs next to nothing.

    Args:
        transfers: to the device and back.
    """

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    def run(self, step: CoderStep, given: Tensor, rows: Ints, staging: Tensor) -> Rows:
        """Takes one step; see DeviceRows."""
        count = int(rows[-1]) + 1
        active = torch.zeros(count, dtype=torch.bool)
        active[torch.from_numpy(rows)] = True
        up = self._transfers.up
        made = step(up(given[:count]), up(active))
        arrived = self._transfers.down(made, staging[:count]).wait()
        found: Rows = arrived.numpy()[rows]
        return found


def picks_rows(codec: Codec) -> bool:
    """Whether a step computes only the rows that have a frame; see ChosenRows and FirstRows."""
    return codec.device.type == "cpu" and codec.causal
