"""Selects the rows that a step on the device computes, and moves their data there and back.

A thread that calls torch gives the interpreter's lock away for each operation and waits to get it
back, which beside a busy event loop takes milliseconds. So on a CPU a step is one such call.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from xyt_stream.model import torch_internals
from xyt_stream.server.engine.work import Ints
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.transfers import Transfers

Rows = npt.NDArray[Any]


class CoderStep(Protocol):
    """A step of an encoder or a decoder; see StreamEncoder."""

    def __call__(self, x: Tensor, active: Tensor, chosen: Tensor | None = None, /) -> Tensor:
        """Takes one step; returns its results by rows."""


class DeviceRows(Protocol):
    """Runs the steps of one half, encoder or decoder, for some rows.

    Attributes:
        given: the next step's input by rows, [slots, ...].
    """

    given: Rows

    def run(self, rows: Ints) -> Rows:
        """Takes one step.

        Args:
            rows: that are computed, int64 [any number of them], in order.

        Returns:
            The results of these rows alone, in an array that nothing else changes.
        """


class ChosenRows:
    """Steps these rows and no others: on a CPU each extra row costs time.

    Args:
        step: of all slots.
        given: its input, [slots, ...].

    Attributes:
        given: the same.
    """

    def __init__(self, step: CoderStep, given: Tensor) -> None:
        self._step = step
        self.given = given.numpy()
        chosen, fed = torch.zeros(len(given), dtype=torch.int64), torch.zeros_like(given)
        self._chosen, self._fed = chosen.numpy(), fed.numpy()
        # Made once, for each number of rows: a tensor that is made and let go in a step, or that
        # nothing but Python holds, costs a wait for the lock each.
        counts = range(1, len(given) + 1)
        every = torch.ones(len(given), dtype=torch.bool)
        self._inputs = [(fed[:count], every[:count], chosen[:count]) for count in counts]
        if torch_internals.supported():  # elsewhere steps are not traced, and nothing can hold
            self._held = [torch_internals.held(list(inputs)) for inputs in self._inputs]

    def run(self, rows: Ints) -> Rows:
        """Takes one step; see DeviceRows."""
        count = len(rows)
        self._chosen[:count] = rows
        self.given.take(rows, axis=0, out=self._fed[:count], mode="clip")
        found: Rows = self._step(*self._inputs[count - 1]).numpy()
        return found


class FirstRows:
    """Steps all rows up to the last of these: on a GPU that costs next to nothing.

    Args:
        step: of all slots.
        given: its input, [slots, ...], in memory that the device can read directly.
        made: likewise, for its results.
        transfers: to the device and back.

    Attributes:
        given: the input.
    """

    def __init__(self, step: CoderStep, given: Tensor, made: Tensor, transfers: Transfers) -> None:
        self._step = step
        self.given = given.numpy()
        self._given = given
        self._made = made
        self._transfers = transfers

    def run(self, rows: Ints) -> Rows:
        """Takes one step; see DeviceRows."""
        count = int(rows[-1]) + 1
        active = torch.zeros(count, dtype=torch.bool)
        active[torch.from_numpy(rows)] = True
        up = self._transfers.up
        made = self._step(up(self._given[:count]), up(active))
        arrived = self._transfers.down(made, self._made[:count]).wait()
        found: Rows = arrived.numpy()[rows]
        return found


class Row(NamedTuple):
    """The size and the type of one row."""

    size: int
    dtype: torch.dtype


def make_rows(
    codec: Codec, transfers: Transfers, step: CoderStep, slots: int, given: Row, made: Row
) -> DeviceRows:
    """Makes the kind of rows that steps of this codec need.

    Args:
        codec: whose encoder or decoder it is.
        transfers: to its device and back.
        step: of all slots.
        slots: number of them.
        given, made: a row of its input, and of its results.
    """
    taken = transfers.staging(slots, given.size, dtype=given.dtype)
    if picks_rows(codec):
        return ChosenRows(step, taken)
    return FirstRows(step, taken, transfers.staging(slots, made.size, dtype=made.dtype), transfers)


def picks_rows(codec: Codec) -> bool:
    """Whether a step computes only the rows that have a frame; see ChosenRows and FirstRows."""
    return codec.device.type == "cpu" and codec.causal
