"""Steps all slots in one thread: each step takes one frame of every slot that has one waiting.

The event loop writes frames into a slot's ring and the thread takes them out. A step's cost grows
with the slots in use, and an idle engine sleeps.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xyt_stream.audio import Samples
from xyt_stream.errors import HandoverError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.jobs import Jobs
from xyt_stream.server.engine.saved_slot import loaded_slot, saved_slot
from xyt_stream.server.engine.slot_engine import SlotOwner
from xyt_stream.server.engine.slots import Slots
from xyt_stream.server.engine.timings import Timings
from xyt_stream.server.engine.work import Mask, Work
from xyt_stream.server.engine.worker import Worker
from xyt_stream.server.saved import SavedSlot

if TYPE_CHECKING:
    from xyt_stream.server.engine.device import StepResults
    from xyt_stream.streaming.codec import Codec

LONGEST_WAIT = 0.008  # seconds that a step waits at most for the frames of other slots
LONGEST_STEP = 0.03  # seconds that a step is expected to take at most
WAIT_SHARE = 0.25  # of the last step's own time that it waits for them
BUSY_RETRY = 5.0  # seconds after which a refused client may ask again for a slot

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepFigures:
    """Durations of one step, for metrics.

    Attributes:
        seconds: that the step took.
        frames: that it took from slots.
        turnaround: seconds from each frame's arrival until the step's results, [frames].
    """

    seconds: float
    frames: int
    turnaround: list[float]


class Engine:
    """A fixed pool of slots on one device.

    All methods are for the event loop's thread; results come to the loop that runs at `start`.

    Args:
        codec: the loaded model.
        slots: number of concurrent streams.
        lookahead: frames of future context that a bidirectional model waits for.
        on_step: called after each step that took frames.

    Attributes:
        timings: durations of the latest steps.
    """

    has_codec = True

    def __init__(
        self,
        codec: Codec,
        slots: int,
        *,
        lookahead: int = 0,
        on_step: Callable[[StepFigures], None] = lambda step: None,
    ) -> None:
        # Not at the top: a relay uses this module's names and runs without torch.
        from xyt_stream.server.engine.device import Device

        self.codec = codec
        self.slots = slots
        self.timings = Timings()
        self._on_step = on_step
        self._device = Device(codec, slots, lookahead)
        self._free = list(range(slots))
        self._owners: list[SlotOwner | None] = [None] * slots
        self._rest_until = 0.0  # before that, no step takes only frames ahead of real time
        self._worker = Worker("xyt-engine", self._run, self._fail_all, prompt=True)
        self._wake = self._worker.wake  # guards `_waiting` and `_scheduler`
        self._jobs = Jobs(self._worker)
        self._waiting = Slots(
            slots,
            frame_samples=codec.frame_samples_in,
            codebooks=codec.num_codebooks,
            encoder_lead=self._device.encoder.lead,
            decoder_lead=self._device.decoder.lead,
            most_rows=self._device.most_rows,
        )
        self._scheduler = self._waiting.scheduler

    def warm_up(self) -> None:
        """Takes a step of every size once, before `start`; see Device."""
        self._device.warm_up()

    def start(self) -> None:
        """Starts the thread; results come to the event loop that runs now."""
        self._worker.start()

    def stop(self) -> None:
        """Ends the thread after its current step."""
        self._worker.stop()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._worker.alive

    @property
    def free_slots(self) -> int:
        """Number of free slots."""
        return len(self._free)

    @property
    def lead_samples(self) -> int:
        """Samples that a slot's encoder needs before its first frame."""
        return self._device.encoder.lead

    @property
    def delay_samples(self) -> int:
        """Samples at the codec's output rate by which a slot's sound lags behind its frames."""
        return self._device.decoder.delay_samples

    @property
    def delays(self) -> tuple[float, float]:
        """Algorithmic delay of encoding and of decoding, in seconds."""
        return self._device.encoder.delay, self._device.decoder.delay

    def check_free(self) -> None:
        """Raises ProtocolError if no slot is free: busy."""
        if not self._free:
            raise protocol_error(
                "busy",
                f"All {self.slots} slots are taken: try again later.",
                retry_after=BUSY_RETRY,
            )

    def open_slot(self, owner: SlotOwner, *, from_codes: bool) -> int:
        """Takes a free slot and returns its number; it is fed with codes or with sound.

        Raises:
            ProtocolError: busy: no slot is free.
        """
        self.check_free()
        slot = self._free.pop()
        self._owners[slot] = owner
        with self._wake:
            self._waiting.open(slot, from_codes=from_codes)
        return slot

    def close_slot(self, slot: int) -> None:
        """Frees a slot and drops all that waits in it."""
        self._owners[slot] = None
        with self._wake:
            self._waiting.close(slot)
        self._free.append(slot)

    def set_decoding(self, slot: int, wanted: bool) -> None:
        """Turns decoding of the next frames on or off; see Slots."""
        with self._wake:
            self._waiting.set_decoding(slot, wanted)

    def prime(self, slot: int, samples: Samples) -> None:
        """Gives a slot's encoder its lookahead, float32 [lead_samples]."""
        with self._wake:
            self._waiting.lead[slot] = samples

    def push(self, slot: int, frame: Samples | CodeArray) -> None:
        """Adds a frame to a slot's ring; see Slots."""
        with self._wake:
            self._waiting.push(slot, frame, time.monotonic())
            self._wake.notify()

    def end(self, slot: int, left: int = 0, last: Samples | None = None) -> None:
        """Ends a slot's input; see Slots."""
        with self._wake:
            self._waiting.end(slot, left, last, time.monotonic())
            self._wake.notify()

    async def save_slot(self, slot: int) -> SavedSlot:
        """The state of a slot in which no frame waits; see Slots."""

        def save() -> SavedSlot:
            with self._wake:
                flags = self._waiting.save(slot)
            return saved_slot(flags, self._device.save(slot, self._settled_row(slot)))

        return await self._jobs.run(save)

    async def load_slot(self, slot: int, saved: SavedSlot) -> None:
        """Gives an open slot, into which no frame was pushed, the state of another server's.

        Raises:
            HandoverError: the state is that of another model or setting, or the slot was closed.
        """
        generation = self._waiting.generation(slot)

        def load() -> None:
            flags, tensors = loaded_slot(saved, self.lead_samples)
            self._device.load(slot, self._settled_row(slot), tensors)
            with self._wake:
                # Its next owner, if there is one already, still begins with a reset.
                if self._waiting.generation(slot) != generation:
                    raise HandoverError("the stream has ended")
                self._waiting.load(slot, flags)

        await self._jobs.run(load)

    def _settled_row(self, slot: int) -> int:
        """The row of a slot, after all rows have moved to their places. For the engine's thread."""
        with self._wake:
            moves = self._waiting.assign_rows()
            row = self._waiting.row_of(slot)
        self._device.move(moves)
        if row is None:
            raise HandoverError("the stream has ended")
        return row

    def _run(self) -> None:
        while self._wait_for_work():
            self._jobs.do()
            with self._wake:
                if not self._waiting.waiting:
                    continue
            work, lead, ahead = self._gather()
            started = time.monotonic()
            try:
                results = self._device.step(work, lead)
            except BaseException:  # whatever a kernel or a library raises: the thread goes on
                _log.exception("a step failed on the device")
                self._worker.post(self._fail, work)
            else:
                seconds = time.monotonic() - started
                if ahead:
                    self._rest_until = started + 2 * seconds
                self._worker.post(self._deliver, work, results, started, seconds)

    def _wait_for_work(self) -> bool:
        """Waits until a step is worth taking; False: the thread must end."""
        with self._wake:
            self._wake.wait_for(
                lambda: self._worker.closing or self._waiting.waiting or self._jobs.waiting
            )
            while not self._worker.closing and (now := time.monotonic()) < self._rest_until:
                if self._jobs.waiting or not self._scheduler.only_ahead(now):
                    break
                self._wake.wait(self._rest_until - now)
            self._give_way()
            if self._jobs.waiting:
                return not self._worker.closing
            # A slot's frames come every 80 ms, so the ones that are about to come are known.
            wait = min(LONGEST_WAIT, WAIT_SHARE * self.timings.last_step)
            deadline = time.monotonic() + wait
            while not self._worker.closing and (now := time.monotonic()) < deadline:
                if self._scheduler.full or not self._scheduler.expected(now, deadline):
                    break
                self._wake.wait(deadline - now)
            return not self._worker.closing

    def _give_way(self) -> None:
        """Waits for a calm stream's frame before a step without any: see the top of scheduler.py.

        The step may take as long as any of the latest ones, and that frame would wait for its end.
        """
        until = time.monotonic() + min(LONGEST_STEP, self.timings.longest_step)
        while not self._worker.closing and (now := time.monotonic()) < until:
            if self._jobs.waiting or not self._scheduler.gives_way(now):
                return
            if not self._scheduler.expected(now, until):
                return
            self._wake.wait(until - now)

    def _gather(self) -> tuple[Work, Samples | None, bool]:
        """Plans the next step.

        Returns:
            It, the lookahead of fresh encoders, float32 [rows, lead_samples], and whether it takes
            only frames ahead of real time, beside streams in it.
        """
        with self._wake:
            pcm, codes, now = self._device.pcm, self._device.codes, time.monotonic()
            ahead = self._scheduler.only_ahead(now)
            work = self._waiting.take(pcm, codes, now)
            return work, self._waiting.lead[work.slots] if work.fresh.any() else None, ahead

    def _owners_of(self, work: Work, rows: Mask) -> Iterator[tuple[int, SlotOwner]]:
        """(row, owner) of some rows, without slots that have changed hands since the step."""
        for row in np.flatnonzero(rows).tolist():
            slot = int(work.slots[row])
            owner = self._owners[slot]
            if owner is not None and self._waiting.generation(slot) == work.generation[row]:
                yield row, owner

    def _deliver(self, work: Work, results: StepResults, started: float, seconds: float) -> None:
        if work.stepped.any():
            self.timings.load.record(time.monotonic() - started)
            began, encoded, decoded = results.times
            self.timings.record_step(
                seconds,
                encoded - began if work.encoded.any() else None,
                decoded - encoded if work.decoded.any() else None,
            )
            waited = time.monotonic() - work.waited_since[work.stepped]
            self._on_step(StepFigures(seconds, len(waited), waited.tolist()))
        place = np.cumsum(work.decoded) - 1  # of a row's sound
        for row, owner in self._owners_of(work, work.stepped | work.decoded):
            codes = results.codes[row] if work.stepped[row] else None
            sound = None
            if results.sound is not None and work.decoded[row]:
                sound = results.sound[place[row]]
            owner.on_step(codes, sound, bool(work.starts[row]))
        if results.tail is not None:
            for row, owner in self._owners_of(work, work.ended):
                owner.on_end(results.tail[row])

    def _fail_all(self) -> None:
        """Ends all streams: the thread has failed."""
        for owner in [owner for owner in self._owners if owner is not None]:
            owner.on_error()

    def _fail(self, work: Work) -> None:
        for _, owner in self._owners_of(work, work.stepped | work.decoded | work.ended):
            owner.on_error()
