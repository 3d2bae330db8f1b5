"""The thread that owns the device: every step takes one frame of each slot that has one waiting.

The event loop writes frames into a slot's ring and the thread takes them out. A step costs what the
slots in use cost, and an idle engine sleeps.
"""

from __future__ import annotations

import collections
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SECONDS, Samples
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import CodingTimes, StepTimes
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.slots import Ints, Mask, Slots, Work
from xyt_stream.server.worker import Worker
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.copies import Copies

LONGEST_WAIT = 0.008  # seconds that a step waits at most for the frames of other slots
WAIT_SHARE = 0.25  # of a step's own time that it waits for them
WARM_ROWS = 32
BUSY_RETRY = 5.0  # seconds after which it makes sense to ask again for a slot
_STEPS_KEPT = 1024  # durations behind `step_ms`
_RECENT = 16  # steps that tell how things are going
_LATELY = 10.0  # seconds that they may lie back

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


@dataclass(frozen=True)
class _Batch:
    """What one step made, by rows."""

    codes: CodeArray  # [rows, codebooks]
    sound: Samples | None  # [rows, frame_samples_out]; only of those that were decoded
    tail: Samples | None  # [slots, delay_samples]
    times: tuple[float, float, float]  # seconds: before encoding, after it, and after decoding


class Engine:
    """A fixed pool of slots on one device.

    All methods are for the event loop's thread; `start` says which loop that is.

    Args:
        codec: the loaded model.
        slots: how many streams there may be at once.
        lookahead: frames of the future that a bidirectional model waits for.
        on_step: told of every step that took frames.
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
        self._on_step = on_step
        self._encoder = codec.stream_encoder(slots, lookahead=lookahead)
        self._decoder = codec.stream_decoder(slots, lookahead=lookahead)
        self._free = list(range(slots))
        self._tenants: list[Tenant | None] = [None] * slots
        self._step_ms: collections.deque[float] = collections.deque(maxlen=_STEPS_KEPT)
        self._recent: collections.deque[tuple[float, float]] = collections.deque(maxlen=_RECENT)
        self._encode_ms: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._decode_ms: collections.deque[float] = collections.deque(maxlen=_RECENT)

        self._copies = Copies(codec.device)
        staging = self._copies.staging
        self._pcm = staging(slots, codec.frame_samples_in)
        self._codes = staging(slots, codec.num_codebooks, dtype=torch.int64)
        self._made_codes = staging(slots, codec.num_codebooks, dtype=torch.int64)
        self._made_sound = staging(slots, codec.frame_samples_out)
        # Codes that decoders hear before they speak, by slot: [slots, codebooks, lead].
        self._lead_codes = torch.zeros(
            slots, codec.num_codebooks, self._decoder.lead, dtype=torch.int64
        )

        self._worker = Worker("xyt-engine", self._run)
        self._wake = self._worker.wake  # what waits belongs to whoever holds it
        self._waiting = Slots(
            slots,
            frame_samples=codec.frame_samples_in,
            codebooks=codec.num_codebooks,
            encoder_lead=self._encoder.lead,
            decoder_lead=self._decoder.lead,
        )

    def warm_up(self) -> None:
        """Takes a step of every size once, before `start`: on a CPU the first takes twice as long.

        Steps of more than WARM_ROWS are so long by themselves that their first may take its time.
        On a GPU steps are captured when the encoder and the decoder are made.
        """
        if not self._picks:
            return
        for count in range(1, min(self.slots, WARM_ROWS) + 1):
            rows = torch.arange(count)
            active = torch.ones(count, dtype=torch.bool)
            self._decoder.step(self._encoder.step(self._pcm[:count], active, rows), active, rows)
        self._encoder.reset()
        self._decoder.reset()

    @property
    def _picks(self) -> bool:
        """Whether a step takes the rows that have a frame and no others.

        On a CPU a row more is time lost. On a GPU it costs next to nothing, and nothing is copied.
        """
        return self.codec.device.type == "cpu" and self.codec.causal

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
        return self._encoder.lead

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

    def coding_ms(self) -> CodingTimes | None:
        """How long the latest steps encoded and decoded; None before the first."""
        if not self._step_ms:
            return None
        return CodingTimes(encode=_mean(self._encode_ms), decode=_mean(self._decode_ms))

    @property
    def load(self) -> float:
        """The latest steps' time as a share of real time; at 1 the device cannot keep up.

        0 where there were too few lately: what is long ago must not keep anybody out.
        """
        if len(self._recent) < _RECENT or time.monotonic() - self._recent[0][0] > _LATELY:
            return 0.0
        return float(np.median([seconds for _, seconds in self._recent])) / FRAME_SECONDS

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
            work = self._gather()
            started = time.monotonic()
            try:
                batch = self._step(work)
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
            step = self._step_ms[-1] / 1e3 if self._step_ms else 0.0
            deadline = time.monotonic() + min(LONGEST_WAIT, WAIT_SHARE * step)
            while not self._worker.closing and (now := time.monotonic()) < deadline:
                if not self._waiting.expected(
                    now - FRAME_SECONDS - LONGEST_WAIT, deadline - FRAME_SECONDS
                ):
                    break
                self._wake.wait(deadline - now)
            return not self._worker.closing

    def _gather(self) -> Work:
        with self._wake:
            work = self._waiting.take(self._pcm.numpy(), self._codes.numpy())
            self._lead_pcm = (
                torch.from_numpy(self._waiting.lead[work.slots]) if work.fresh.any() else None
            )
        return work

    def _step(self, work: Work) -> _Batch:
        for source, target in work.moves:
            self._encoder.move(source, target)
            self._decoder.move(source, target)
        codes = self._codes[: len(work.slots)]
        began = time.monotonic()
        if work.encoded.any():
            self._encode(work, codes)
        encoded = time.monotonic()  # the codes are here: no device is still at it
        self._hear(work, codes)
        sound = tail = None
        if work.decoded.any():
            sound = self._decode(work)
        times = began, encoded, time.monotonic()
        if work.ended.any():
            tail = self._decoder.tail().cpu().numpy()
        return _Batch(codes.numpy().copy(), sound, tail, times)

    def _encode(self, work: Work, codes: Tensor) -> None:
        """Puts the codes of the rows that are encoded into [rows, codebooks]."""
        if work.fresh.any():
            fresh = self._masked(work.fresh)
            self._encoder.reset(fresh)
            if self._encoder.lead and self._lead_pcm is not None:
                self._encoder.prime(self._padded(self._lead_pcm), fresh)
        if self._encoder.lead and work.closing.any():
            self._encoder.end(self._masked(work.closing), self._counts(work.left))
        rows, active, chosen = self._rows(work.encoded)
        fed = self._copies.up(_choose(self._pcm, active, chosen))
        made = self._encoder.step(fed, active, chosen)
        codes[rows] = self._fetch(made, self._made_codes, rows, chosen)

    def _decode(self, work: Work) -> Samples:
        """Sound of the rows that are decoded; other rows mean nothing."""
        rows, active, chosen = self._rows(work.decoded)
        fed = self._copies.up(_choose(self._codes, active, chosen))
        made = self._decoder.step(fed, active, chosen)
        sound = np.empty((len(work.slots), made.shape[1]), np.float32)
        sound[rows] = self._fetch(made, self._made_sound, rows, chosen).numpy()
        return sound

    def _hear(self, work: Work, codes: Tensor) -> None:
        """What decoders hear before they speak."""
        if work.starts.any():
            self._decoder.reset(self._masked(work.starts))
        if not self._decoder.lead:
            return
        if work.primed.any():
            lead = self._lead_codes[torch.from_numpy(work.slots)]
            self._decoder.prime(self._padded(lead), self._masked(work.primed))
        if work.drains.any():
            self._decoder.end(self._masked(work.drains), self._counts(work.rest))
        early = np.flatnonzero(work.place >= 0)
        slots, place = work.slots[early], work.place[early]
        self._lead_codes[slots, :, place] = codes[early]

    def _rows(self, mask: Mask) -> tuple[Tensor, Tensor, Tensor | None]:
        """Which rows are in the mask, and the `active` and `chosen` of a step for them."""
        rows = torch.from_numpy(np.flatnonzero(mask))
        if self._picks:
            return rows, torch.ones(len(rows), dtype=torch.bool), rows
        count = int(rows[-1]) + 1  # no more of the first rows than reach the mask's last one
        active = torch.zeros(count, dtype=torch.bool)
        active[rows] = True
        return rows, self._copies.up(active), None

    def _fetch(self, made: Tensor, staging: Tensor, rows: Tensor, chosen: Tensor | None) -> Tensor:
        """What a step made of `rows`, on the host until the next one."""
        arrived = self._copies.down(made, staging[: len(made)]).wait()
        return arrived[rows] if chosen is None else arrived

    def _masked(self, mask: Mask) -> Tensor:
        """[rows] as bool [slots]."""
        return self._padded(torch.from_numpy(mask))

    def _counts(self, numbers: Ints) -> Tensor:
        """[rows] as int64 [slots]."""
        return self._padded(torch.from_numpy(numbers))

    def _padded(self, rows: Tensor) -> Tensor:
        """[rows, ...] as [slots, ...] on the device."""
        padded = rows.new_zeros(self.slots, *rows.shape[1:])
        padded[: len(rows)] = rows
        return padded.to(self.codec.device)

    def _tenants_of(self, work: Work, rows: Mask) -> Iterator[tuple[int, Tenant]]:
        """(row, tenant) of some rows, without slots that have changed hands since."""
        for row in np.flatnonzero(rows).tolist():
            slot = int(work.slots[row])
            tenant = self._tenants[slot]
            if tenant is not None and self._waiting.tenancy(slot) == work.tenancy[row]:
                yield row, tenant

    def _deliver(self, work: Work, batch: _Batch, seconds: float) -> None:
        if work.stepped.any():
            self._step_ms.append(seconds * 1e3)
            self._recent.append((time.monotonic(), seconds))
            began, encoded, decoded = batch.times
            if work.encoded.any():
                self._encode_ms.append((encoded - began) * 1e3)
            if work.decoded.any():
                self._decode_ms.append((decoded - encoded) * 1e3)
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


def _mean(values: collections.deque[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _choose(rows: Tensor, active: Tensor, chosen: Tensor | None) -> Tensor:
    """What a step is fed with, out of all rows."""
    return rows[: len(active)] if chosen is None else rows[chosen]
