"""Rows to the device and results back, beside the computing and without waiting."""

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
        """The rows, once they are here."""
        if self.event is not None:
            self.event.synchronize()
        return self.rows


class Transfers:
    """Transfers on a stream of their own, so that the next step's rows travel while this one runs.

    On a CPU there is nothing to copy, and all of it is at once.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def staging(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A buffer on the host that the device can read and write by itself."""
        return torch.zeros(*shape, dtype=dtype, pin_memory=self._stream is not None)

    def up(self, rows: Tensor) -> Tensor:
        """To the device, before what is computed from now on; leave `rows` alone until then.

        Args:
            rows: in a staging buffer.
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
        """Back to the host, once it is computed."""
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
