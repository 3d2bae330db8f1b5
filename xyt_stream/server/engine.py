"""The thread that owns the device: every step takes one frame of each slot that has one waiting.

Slots are rows of preallocated arrays. The event loop writes frames into a slot's ring and the
thread takes them out; a step costs the same whichever slots are in it, and an idle engine sleeps.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from xyt_stream.audio import Samples
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import StepTimes
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.streaming.codec import Codec

RING = 16  # frames that may wait in a slot
COALESCE = 0.002  # seconds that a step waits for the frames of other slots
_STEPS_KEPT = 1024  # durations behind `step_ms`

_log = logging.getLogger(__name__)


class Tenant(Protocol):
    """Whoever holds a slot; called on the event loop."""

    def stepped(self, codes: CodeArray, sound: Samples | None, fresh: bool) -> None:
        """The slot's next frame.

        Args:
            codes: int64 [codebooks].
            sound: float32 [frame_samples_out] if the slot is decoded.
            fresh: the decoder began with this frame.
        """

    def ended(self, tail: Samples) -> None:
        """After the last frame: the decoder's tail, float32 [delay_samples]."""

    def failed(self) -> None:
        """The device failed in a step with this slot; no more will come."""


@dataclass(frozen=True)
class _Work:
    """What one step has to do. Masks are bool [slots]."""

    rows: npt.NDArray[np.int64]  # the slots that take part
    tenancy: npt.NDArray[np.int64]  # [slots]
    stepped: npt.NDArray[np.bool_]
    encoded: npt.NDArray[np.bool_]
    decoded: npt.NDArray[np.bool_]
    ending: npt.NDArray[np.bool_]
    reset_encoder: npt.NDArray[np.bool_]
    reset_decoder: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Batch:
    """What one step made, for the slots in `rows` only."""

    codes: CodeArray  # [rows, codebooks]
    sound: Samples | None  # [rows, frame_samples_out]
    tail: Samples | None  # [rows, delay_samples]


class Engine:
    """A fixed pool of slots on one device.

    All methods are for the event loop's thread; `start` says which loop that is.

    Args:
        codec: the loaded model.
        slots: how many streams there may be at once.
    """

    def __init__(self, codec: Codec, slots: int) -> None:
        self.codec = codec
        self.slots = slots
        self._encoder = codec.stream_encoder(slots=slots)
        self._decoder = codec.stream_decoder(slots=slots)
        self._free = list(range(slots))
        self._tenants: list[Tenant | None] = [None] * slots
        self._step_ms: collections.deque[float] = collections.deque(maxlen=_STEPS_KEPT)

        self._pcm_ring = np.zeros((slots * RING, codec.frame_samples_in), np.float32)
        self._codes_ring = np.zeros((slots * RING, codec.num_codebooks), np.int64)
        self._pcm = torch.zeros(slots, codec.frame_samples_in)
        self._codes = torch.zeros(slots, codec.num_codebooks, dtype=torch.int64)
        self._ring_start = np.arange(slots) * RING

        # Everything below belongs to whoever holds the lock.
        self._wake = threading.Condition()
        self._closing = False
        self._written = np.zeros(slots, np.int64)  # frames put into the ring since `open`
        self._taken = np.zeros(slots, np.int64)
        self._tenancy = np.zeros(slots, np.int64)  # counts a slot's tenants
        self._from_codes = np.zeros(slots, np.bool_)
        self._decoding = np.zeros(slots, np.bool_)
        self._ending = np.zeros(slots, np.bool_)
        self._reset_encoder = np.zeros(slots, np.bool_)
        self._reset_decoder = np.zeros(slots, np.bool_)

        self._thread = threading.Thread(target=self._run, name="xyt-engine", daemon=True)

    def start(self) -> None:
        """Starts the thread; results come to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the step it is in."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    @property
    def free_slots(self) -> int:
        return len(self._free)

    @property
    def delay_samples(self) -> int:
        """Samples at the codec's output rate by which a slot's sound lags behind its frames."""
        return self._decoder.delay_samples

    @property
    def delays(self) -> tuple[float, float]:
        """Algorithmic delay of encoding and of decoding, in seconds."""
        return self._encoder.delay, self._decoder.delay

    def step_ms(self) -> StepTimes | None:
        """How long the latest steps took; None before the first."""
        if not self._step_ms:
            return None
        median, p99 = np.percentile(np.array(self._step_ms), (50, 99))
        return StepTimes(median=float(median), p99=float(p99))

    def open(self, tenant: Tenant, *, from_codes: bool) -> int:
        """A fresh slot, fed with codes or with sound.

        Raises:
            ProtocolError: busy.
        """
        if not self._free:
            raise protocol_error("busy", f"All {self.slots} slots are taken: try again later.")
        slot = self._free.pop()
        self._tenants[slot] = tenant
        with self._wake:
            self._tenancy[slot] += 1
            self._written[slot] = self._taken[slot] = 0
            self._from_codes[slot] = from_codes
            self._decoding[slot] = self._ending[slot] = False
            self._reset_encoder[slot] = True
        return slot

    def close(self, slot: int) -> None:
        """Gives the slot back, whatever is still in it."""
        self._tenants[slot] = None
        with self._wake:
            self._tenancy[slot] += 1
            self._written[slot] = self._taken[slot] = 0
            self._ending[slot] = False
        self._free.append(slot)

    def decode(self, slot: int, wanted: bool) -> None:
        """Whether frames from now on are decoded; turned on, the decoder starts afresh."""
        with self._wake:
            self._reset_decoder[slot] |= wanted and not self._decoding[slot]
            self._decoding[slot] = wanted

    def push(self, slot: int, frame: Samples | CodeArray) -> None:
        """One frame, float32 [frame_samples_in] or int64 [codebooks]; at most RING may wait."""
        ring = self._codes_ring if self._from_codes[slot] else self._pcm_ring
        with self._wake:
            assert self._written[slot] - self._taken[slot] < RING
            ring[slot * RING + self._written[slot] % RING] = frame
            self._written[slot] += 1
            self._wake.notify()

    def end(self, slot: int) -> None:
        """No more frames: after the last one comes the tail."""
        with self._wake:
            self._ending[slot] = True
            self._wake.notify()

    def _run(self) -> None:
        while self._wait_for_work():
            work = self._gather()
            started = time.perf_counter()
            try:
                batch = self._step(work)
            except Exception:
                _log.exception("a step failed on the device")
                self._loop.call_soon_threadsafe(self._fail, work)
            else:
                seconds = time.perf_counter() - started
                self._loop.call_soon_threadsafe(self._deliver, work, batch, seconds)

    def _wait_for_work(self) -> bool:
        with self._wake:
            self._wake.wait_for(
                lambda: self._closing or (self._written > self._taken).any() or self._ending.any()
            )
            deadline = time.monotonic() + COALESCE
            while not self._closing and (left := deadline - time.monotonic()) > 0:
                streaming = (self._written > 0) & ~self._ending
                if not (streaming & (self._written == self._taken)).any():
                    break  # nobody to wait for
                self._wake.wait(left)
            return not self._closing

    def _gather(self) -> _Work:
        """Takes one frame of every slot that has one into the batch."""
        with self._wake:
            due = self._written > self._taken
            ending = self._ending & ~due
            row = self._ring_start + self._taken % RING
            np.take(self._pcm_ring, row, axis=0, out=self._pcm.numpy(), mode="clip")
            np.take(self._codes_ring, row, axis=0, out=self._codes.numpy(), mode="clip")
            decoded = due & self._decoding
            work = _Work(
                rows=np.flatnonzero(due | ending),
                tenancy=self._tenancy.copy(),
                stepped=due,
                encoded=due & ~self._from_codes,
                decoded=decoded,
                ending=ending,
                reset_encoder=self._reset_encoder.copy(),
                reset_decoder=decoded & self._reset_decoder,
            )
            self._reset_encoder[:] = False
            self._reset_decoder &= ~decoded
            self._taken += due
            self._ending &= ~ending
        return work

    def _step(self, work: _Work) -> _Batch:
        device = self.codec.device
        codes = self._codes.to(device)
        sound = tail = None
        if work.reset_encoder.any():
            self._encoder.reset(torch.from_numpy(work.reset_encoder).to(device))
        if work.reset_decoder.any():
            self._decoder.reset(torch.from_numpy(work.reset_decoder).to(device))
        if work.encoded.any():
            encoded = torch.from_numpy(work.encoded).to(device)
            made = self._encoder.step(self._pcm.to(device), encoded)
            codes = torch.where(encoded[:, None], made, codes)
        if work.decoded.any():
            decoded = torch.from_numpy(work.decoded).to(device)
            sound = self._decoder.step(codes, decoded).cpu().numpy()[work.rows]
        if work.ending.any():
            tail = self._decoder.tail().cpu().numpy()[work.rows]
        return _Batch(codes.cpu().numpy()[work.rows], sound, tail)

    def _tenants_of(self, work: _Work) -> Iterator[tuple[int, int, Tenant]]:
        """(row, slot, tenant) of the work's slots, without those that have changed hands since."""
        for row, slot in enumerate(work.rows.tolist()):
            tenant = self._tenants[slot]
            if tenant is not None and self._tenancy[slot] == work.tenancy[slot]:
                yield row, slot, tenant

    def _deliver(self, work: _Work, batch: _Batch, seconds: float) -> None:
        if work.stepped.any():
            self._step_ms.append(seconds * 1e3)
        for row, slot, tenant in self._tenants_of(work):
            if work.stepped[slot]:
                sound = batch.sound[row] if batch.sound is not None and work.decoded[slot] else None
                tenant.stepped(batch.codes[row], sound, bool(work.reset_decoder[slot]))
            elif batch.tail is not None:
                tenant.ended(batch.tail[row])

    def _fail(self, work: _Work) -> None:
        for _, _, tenant in self._tenants_of(work):
            tenant.failed()
