"""Copies rows to the device and results back, while the device computes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Arrival:
    """A result on its way to the host."""

    rows: Tensor
    event: torch.cuda.Event | None

    def wait(self) -> Tensor:
        """Wait for the copy; returns its rows, in the staging buffer."""
        if self.event is not None:
            self.event.synchronize()
        return self.rows


class Transfers:
    """Copies on a CUDA stream of its own, so that the next step's rows travel while this one runs.

    On a CPU `up` copies nothing, and `down` copies at once. One thread uses it: the one that steps.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def staging(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A buffer on the host, page-locked so that the device reads and writes it by itself."""
        return torch.zeros(*shape, dtype=dtype, device="cpu", pin_memory=self._stream is not None)

    def up(self, rows: Tensor) -> Tensor:
        """Copy to the device; later work there waits for it.

        Args:
            rows: in a staging buffer; do not change them until that work has begun.
        """
        if self._stream is None:
            return rows
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            arrived = rows.to(self.device, non_blocking=True)
        current.wait_stream(self._stream)
        arrived.record_stream(current)
        return arrived

    def down(self, rows: Tensor, staging: Tensor) -> Arrival:
        """Copy back to the host, once `rows` are computed.

        Args:
            rows: on the device.
            staging: the buffer that receives them, of the same shape.
        """
        if self._stream is None:
            staging.copy_(rows)
            return Arrival(staging, None)
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            staging.copy_(rows, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(self._stream)
        rows.record_stream(self._stream)
        return Arrival(staging, event)
