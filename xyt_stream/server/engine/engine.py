"""The thread that owns the device: every step takes one frame of each slot that has one waiting.

The event loop writes frames into a slot's ring and the thread takes them out. A step costs what the
slots in use cost, and an idle engine sleeps.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from xyt_stream.audio import FRAME_SECONDS, Samples
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.device import Batch, Device
from xyt_stream.server.engine.slots import Mask, Slots, Work
from xyt_stream.server.engine.timings import Timings
from xyt_stream.server.engine.worker import Worker
from xyt_stream.streaming.codec import Codec

LONGEST_WAIT = 0.008  # seconds that a step waits at most for the frames of other slots
WAIT_SHARE = 0.25  # of a step's own time that it waits for them
BUSY_RETRY = 5.0  # seconds after which it makes sense to ask again for a slot

_log = logging.getLogger(__name__)


class Tenant(Protocol):
    """Whoever holds a slot; called on the event loop."""

    def stepped(self, codes: CodeArray | None, sound: Samples | None, starts: bool) -> None:
        """What a step made of the slot.

        Args:
            codes: of the slot's next frame, int64 [codebooks]; None where only sound is left.
            sound: of the next frame that the decoder gives out, float32 [frame_samples_out].
            starts: the decoder began with these codes.
        """

    def ended(self, tail: Samples) -> None:
        """After the last frame: the decoder's tail, float32 [delay_samples]."""

    def failed(self) -> None:
        """The device failed in a step with this slot; no more will come."""


@dataclass(frozen=True)
class Step:
    """One step, for whoever keeps figures.

    Attributes:
        seconds: that it took.
        frames: that were taken.
        turnaround: seconds from a frame's arrival until its step was done, [frames].
    """

    seconds: float
    frames: int
    turnaround: list[float]


class Engine:
    """A fixed pool of slots on one device.

    All methods are for the event loop's thread; `start` says which loop that is.

    Args:
        codec: the loaded model.
        slots: how many streams there may be at once.
        lookahead: frames of the future that a bidirectional model waits for.
        on_step: told of every step that took frames.

    Attributes:
        timings: of the latest steps.
    """

    def __init__(
        self,
        codec: Codec,
        slots: int,
        *,
        lookahead: int = 0,
        on_step: Callable[[Step], None] = lambda step: None,
    ) -> None:
        self.codec = codec
        self.slots = slots
        self.timings = Timings()
        self._on_step = on_step
        self._device = Device(codec, slots, lookahead)
        self._free = list(range(slots))
        self._tenants: list[Tenant | None] = [None] * slots
        self._worker = Worker("xyt-engine", self._run)
        self._wake = self._worker.wake  # what waits belongs to whoever holds it
        self._waiting = Slots(
            slots,
            frame_samples=codec.frame_samples_in,
            codebooks=codec.num_codebooks,
            encoder_lead=self._device.encoder.lead,
            decoder_lead=self._device.decoder.lead,
        )

    def warm_up(self) -> None:
        """Takes a step of every size once, before `start`: see Device."""
        self._device.warm_up()

    def start(self) -> None:
        """Starts the thread; results come to the running event loop."""
        self._worker.start()

    def stop(self) -> None:
        """Ends the thread after the step it is in."""
        self._worker.stop()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._worker.alive

    @property
    def free_slots(self) -> int:
        return len(self._free)

    @property
    def lead_samples(self) -> int:
        """Samples that a slot's encoder hears before its first frame."""
        return self._device.encoder.lead

    @property
    def delay_samples(self) -> int:
        """Samples at the codec's output rate by which a slot's sound lags behind its frames."""
        return self._device.decoder.delay_samples

    @property
    def delays(self) -> tuple[float, float]:
        """Algorithmic delay of encoding and of decoding, in seconds."""
        return self._device.encoder.delay, self._device.decoder.delay

    def open(self, tenant: Tenant, *, from_codes: bool) -> int:
        """A fresh slot, fed with codes or with sound.

        Raises:
            ProtocolError: busy.
        """
        if not self._free:
            raise protocol_error(
                "busy",
                f"All {self.slots} slots are taken: try again later.",
                retry_after=BUSY_RETRY,
            )
        slot = self._free.pop()
        self._tenants[slot] = tenant
        with self._wake:
            self._waiting.open(slot, from_codes=from_codes)
        return slot

    def close(self, slot: int) -> None:
        """Gives the slot back, whatever is still in it."""
        self._tenants[slot] = None
        with self._wake:
            self._waiting.close(slot)
        self._free.append(slot)

    def decode(self, slot: int, wanted: bool) -> None:
        """Whether frames from now on are decoded; turned on, the decoder starts afresh."""
        with self._wake:
            self._waiting.decode(slot, wanted)

    def prime(self, slot: int, samples: Samples) -> None:
        """What a slot's encoder hears before its first frame: float32 [lead_samples]."""
        with self._wake:
            self._waiting.lead[slot] = samples

    def push(self, slot: int, frame: Samples | CodeArray) -> None:
        """One frame, float32 [frame_samples_in] or int64 [codebooks]; at most RING may wait."""
        with self._wake:
            self._waiting.push(slot, frame, time.monotonic())
            self._wake.notify()

    def end(self, slot: int, left: int = 0, last: Samples | None = None) -> None:
        """No more frames but `last`: `left` frames come out, that one included, and the tail."""
        with self._wake:
            self._waiting.end(slot, left, last, time.monotonic())
            self._wake.notify()

    def _run(self) -> None:
        while self._wait_for_work():
            work, lead = self._gather()
            started = time.monotonic()
            try:
                batch = self._device.step(work, lead)
            except Exception:
                _log.exception("a step failed on the device")
                self._worker.tell(self._fail, work)
            else:
                seconds = time.monotonic() - started
                self._worker.tell(self._deliver, work, batch, seconds)

    def _wait_for_work(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._worker.closing or self._waiting.waiting)
            # Frames of a slot come every 80 ms, so it is known who is worth waiting for.
            wait = min(LONGEST_WAIT, WAIT_SHARE * self.timings.last)
            deadline = time.monotonic() + wait
            while not self._worker.closing and (now := time.monotonic()) < deadline:
                if not self._waiting.expected(
                    now - FRAME_SECONDS - LONGEST_WAIT, deadline - FRAME_SECONDS
                ):
                    break
                self._wake.wait(deadline - now)
            return not self._worker.closing

    def _gather(self) -> tuple[Work, Samples | None]:
        """The next step, and what fresh encoders hear first, float32 [rows, lead_samples]."""
        with self._wake:
            work = self._waiting.take(self._device.pcm.numpy(), self._device.codes.numpy())
            return work, self._waiting.lead[work.slots] if work.fresh.any() else None

    def _tenants_of(self, work: Work, rows: Mask) -> Iterator[tuple[int, Tenant]]:
        """(row, tenant) of some rows, without slots that have changed hands since."""
        for row in np.flatnonzero(rows).tolist():
            slot = int(work.slots[row])
            tenant = self._tenants[slot]
            if tenant is not None and self._waiting.tenancy(slot) == work.tenancy[row]:
                yield row, tenant

    def _deliver(self, work: Work, batch: Batch, seconds: float) -> None:
        if work.stepped.any():
            began, encoded, decoded = batch.times
            self.timings.took(
                seconds,
                encoded - began if work.encoded.any() else None,
                decoded - encoded if work.decoded.any() else None,
            )
            waited = time.monotonic() - work.waited_since[work.stepped]
            self._on_step(Step(seconds, len(waited), waited.tolist()))
        for row, tenant in self._tenants_of(work, work.stepped | work.decoded):
            codes = batch.codes[row] if work.stepped[row] else None
            sound = batch.sound[row] if batch.sound is not None and work.decoded[row] else None
            tenant.stepped(codes, sound, bool(work.starts[row]))
        if batch.tail is not None:
            for row, tenant in self._tenants_of(work, work.ended):
                tenant.ended(batch.tail[row])

    def _fail(self, work: Work) -> None:
        for _, tenant in self._tenants_of(work, work.stepped | work.decoded | work.ended):
            tenant.failed()
