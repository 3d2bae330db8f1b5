"""Captures live steps as CUDA graphs: one launch in place of hundreds.

A graph replays the very kernels of the step it was captured from, on the same memory: the network's
weights, the streams' state, and buffers for input and output. So a step must not read values back
to the host, and its shapes are fixed: there is a graph for each bucket, a number of slots that is a
power of two (or all), and a step of fewer slots runs in the next bucket with the rest inactive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from xyt_stream.streaming.compiled_step import StepFunction

UNCAPTURED = 2  # steps before a capture: libraries choose kernels, layers make their scratch


class Captured(NamedTuple):
    """A captured step: `replay` runs it again on the buffers it was captured with."""

    replay: Callable[[], None]
    out: Tensor  # the result of the latest replay


class Capture(Protocol):
    """Captures steps: `CudaCapture`, or a stand-in in tests without a GPU."""

    def __call__(self, step: StepFunction, x: Tensor, active: Tensor) -> Captured:
        """Capture `step(x, active)`; no slot is active meanwhile, so no stream moves."""
        ...


def bucket(rows: int, slots: int) -> int:
    """The number of slots in which a step of the first `rows` runs: a power of two, or all."""
    return min(slots, 1 << (rows - 1).bit_length())


def buckets(slots: int) -> list[int]:
    """Every bucket, the largest first."""
    return sorted({bucket(rows, slots) for rows in range(1, slots + 1)}, reverse=True)


class CudaCapture:
    """Captures on one side stream into one pool of memory.

    Graphs of one pool may not run at once, nor may one's result be read after another has run; the
    steps of one half of a codec follow each other, and results are copied out at once.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: StepFunction, x: Tensor, active: Tensor) -> Captured:
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        # On the stream of the capture, for libraries keep a handle and a workspace for each.
        with torch.cuda.stream(self.stream):
            for _ in range(UNCAPTURED):
                step(x, active)
        current.wait_stream(self.stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile; thread_local leaves them out of the capture.
        with torch.cuda.graph(
            graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
        ):
            out = step(x, active)
        return Captured(graph.replay, out)


class Graphs:
    """A step of the first slots, captured for every bucket.

    Args:
        step: rows [n, ...] and active, bool [n], to results [n, ...].
        x: a buffer for the rows of all slots.
        capture: captures the step; on a GPU a CudaCapture.
        counts: the buckets to capture, the largest first; None: all.
    """

    def __init__(
        self, step: StepFunction, x: Tensor, capture: Capture, counts: list[int] | None = None
    ) -> None:
        self.slots = len(x)
        self._x = x
        self._active = torch.zeros(self.slots, dtype=torch.bool, device=x.device)
        with torch.inference_mode():
            # The largest first: its memory pool and its scratch then serve the others.
            self._captured = {
                count: capture(step, x[:count], self._active[:count])
                for count in counts or buckets(self.slots)
            }

    def serves(self, active: Tensor, chosen: Tensor | None) -> bool:
        """Whether there is a graph of this step: one of the first slots."""
        return chosen is None and len(active) <= self.slots

    def __call__(self, x: Tensor, active: Tensor, chosen: Tensor | None = None) -> Tensor:
        """As the step itself, of as many slots as there are rows; it does not wait for the GPU."""
        assert chosen is None
        rows = len(active)
        count = bucket(rows, self.slots)
        self._x[:rows].copy_(x, non_blocking=True)
        self._active[:rows].copy_(active, non_blocking=True)
        self._active[rows:count].zero_()
        captured = self._captured[count]
        captured.replay()
        return captured.out[:rows].clone()
