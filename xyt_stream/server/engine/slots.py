"""Holds the frames that wait in each slot and plans the next step, in arrays without a slot loop.

An owner holds a slot from `open` to `close`. A row is a slot's place on the device: the rows in use
are always the first ones, so a step's cost grows with the slots in use. When a slot is freed, the
last row moves into its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.scheduler import Scheduler
from xyt_stream.server.engine.work import Work

RING = 8  # frames; the places in each slot's ring


@dataclass(frozen=True)
class SlotFlags:
    """The state of a slot in which nothing waits; see Slots.

    Attributes:
        from_codes: whether it is fed with codes.
        fresh: whether its encoder must be reset before its next frame.
        decoding: whether its next frames are decoded.
        starts: whether its decoder must be reset before.
        fed: frames into the decoder since its start, as far as they are counted.
        lead: primes the encoder, float32 [lead_samples].
    """

    from_codes: bool
    fresh: bool
    decoding: bool
    starts: bool
    fed: int
    lead: Samples


class Slots:
    """The rings and the streaming state of all slots. Not thread-safe: the engine holds a lock.

    Args:
        count: number of slots.
        frame_samples: samples in a frame of sound.
        codebooks: codes in a frame of codes.
        encoder_lead: samples that an encoder needs before its first frame.
        decoder_lead: frames that a decoder needs before its first sound.
        most_rows: that a step takes a frame of at most.

    Attributes:
        lead: what primes each encoder, float32 [count, encoder_lead].
        scheduler: decides which of the frames that wait a step takes.
    """

    def __init__(
        self,
        count: int,
        *,
        frame_samples: int,
        codebooks: int,
        encoder_lead: int,
        decoder_lead: int,
        most_rows: int,
    ) -> None:
        self.count = count
        self.lead = np.zeros((count, encoder_lead), np.float32)
        self._decoder_lead = decoder_lead
        self._pcm = np.zeros((count * RING, frame_samples), np.float32)
        self._codes = np.zeros((count * RING, codebooks), np.int64)
        self._pushed_at = np.zeros(count * RING)
        self._ring_start = np.arange(count) * RING

        self._rows = np.zeros(count, np.int64)  # the slot in each row
        self._used = 0  # rows
        self._row_held = np.zeros(count, np.bool_)  # by slot: whether it has a row

        self._open = np.zeros(count, np.bool_)
        self._generation = np.zeros(count, np.int64)  # changes with a slot's owner
        self._written = np.zeros(count, np.int64)  # frames put into the ring since `open`
        self._taken = np.zeros(count, np.int64)
        self._from_codes = np.zeros(count, np.bool_)
        self._fresh = np.zeros(count, np.bool_)
        self._ending = np.zeros(count, np.bool_)
        self._close_at = np.zeros(count, np.int64)  # the first frame with anything beyond the end
        self._left = np.zeros(count, np.int64)
        self._silent_from = np.zeros(count, np.int64)  # frames from here on are silence
        self._decoding = np.zeros(count, np.bool_)
        self._starts = np.zeros(count, np.bool_)
        self._fed = np.zeros(count, np.int64)  # frames into the decoder since its start
        self._rest = np.zeros(count, np.int64)  # frames to drain; -1 before it is known
        self.scheduler = Scheduler(
            open=self._open,
            ending=self._ending,
            written=self._written,
            taken=self._taken,
            most=most_rows,
        )

    def open(self, slot: int, *, from_codes: bool) -> None:
        """Starts a fresh stream in a free slot, fed with codes or with sound."""
        self._open[slot] = self._fresh[slot] = True
        self._generation[slot] += 1
        self._from_codes[slot] = from_codes
        self._written[slot] = self._taken[slot] = self._fed[slot] = 0
        self._ending[slot] = self._decoding[slot] = self._starts[slot] = False
        self._close_at[slot] = self._rest[slot] = -1
        self._silent_from[slot] = np.iinfo(np.int64).max
        self.lead[slot] = 0

    def close(self, slot: int) -> None:
        """Frees a slot and drops all that waits in it."""
        self._open[slot] = self._ending[slot] = False
        self._generation[slot] += 1
        self._written[slot] = self._taken[slot] = 0

    def set_decoding(self, slot: int, wanted: bool) -> None:
        """Turns decoding of the next frames on or off; turned on, the decoder is reset."""
        self._starts[slot] |= wanted and not self._decoding[slot]
        self._decoding[slot] = wanted

    def push(self, slot: int, frame: Samples | CodeArray, now: float) -> None:
        """Adds a frame, float32 [frame_samples] or int64 [codebooks]; at most RING may wait.

        `now` is in seconds of the caller's clock.
        """
        assert self._written[slot] - self._taken[slot] < RING
        row = slot * RING + self._written[slot] % RING
        (self._codes if self._from_codes[slot] else self._pcm)[row] = frame
        self._pushed_at[row] = now
        self.scheduler.pushed(slot, now)
        self._written[slot] += 1

    def end(self, slot: int, left: int, last: Samples | None, now: float) -> None:
        """Ends a slot's input: `left` more frames follow, first `last` if given, then silence.

        `last` is float32 [frame_samples].
        """
        self._close_at[slot] = start = self._written[slot]
        if last is not None:
            self.push(slot, last, now)
        self._silent_from[slot] = self._written[slot]
        self._written[slot] = start + left
        silence = slot * RING + np.arange(start, start + min(left, RING)) % RING
        self._pushed_at[silence] = now  # not the time of the frame that lay there before
        self._left[slot] = left
        self._ending[slot] = True

    def save(self, slot: int) -> SlotFlags:
        """The state of a slot in which no frame waits, and whose input has not ended."""
        assert self._written[slot] == self._taken[slot]
        assert not self._ending[slot]
        return SlotFlags(
            from_codes=bool(self._from_codes[slot]),
            fresh=bool(self._fresh[slot]),
            decoding=bool(self._decoding[slot]),
            starts=bool(self._starts[slot]),
            fed=int(self._fed[slot]),
            lead=self.lead[slot].copy(),
        )

    def load(self, slot: int, flags: SlotFlags) -> None:
        """Gives a slot, open and fresh, the state of another."""
        self._from_codes[slot], self._fresh[slot] = flags.from_codes, flags.fresh
        self._decoding[slot], self._starts[slot] = flags.decoding, flags.starts
        self._fed[slot] = min(flags.fed, self._decoder_lead + 1)
        self.lead[slot] = flags.lead

    def row_of(self, slot: int) -> int | None:
        """The row of a slot; None: it has none until `assign_rows`."""
        found = np.flatnonzero(self._rows[: self._used] == slot)
        return int(found[0]) if len(found) else None

    @property
    def waiting(self) -> bool:
        """Whether any slot has something for a step to do."""
        return bool((self._written > self._taken).any() or self._ending.any())

    def generation(self, slot: int) -> int:
        """A number that changes whenever the slot's owner does."""
        return int(self._generation[slot])

    def take(self, pcm: Samples, codes: CodeArray, now: float) -> Work:
        """Plans the next step and takes a frame of each slot that the scheduler chooses.

        Args:
            pcm: receives the frames of sound, float32 [count, frame_samples], by rows.
            codes: receives the frames of codes, int64 [count, codebooks], by rows.
            now: seconds of the caller's clock.
        """
        moves = self.assign_rows()
        slots = self._rows[: self._used].copy()
        taken = self._taken[slots]
        ready = self._written[slots] > taken
        stepped = self.scheduler.choose(slots, ready, now)
        ending = self._ending[slots] & ~ready
        ring = self._ring_start[slots] + taken % RING
        np.take(self._pcm, ring, axis=0, out=pcm[: len(slots)], mode="clip")
        np.take(self._codes, ring, axis=0, out=codes[: len(slots)], mode="clip")
        pcm[: len(slots)][taken >= self._silent_from[slots]] = 0
        from_codes = stepped & self._from_codes[slots]
        codes[: len(slots)][~from_codes] = 0  # stale codes out of range would fail the whole step
        encoded = stepped & ~from_codes

        decoding = self._decoding[slots]
        fed = stepped & decoding
        starts = fed & self._starts[slots]
        count = np.where(self._starts[slots], 0, self._fed[slots])  # frames in the decoder
        lead = self._decoder_lead
        drains = ending & decoding & (self._rest[slots] < 0)
        rest = np.where(drains, np.minimum(count, lead), self._rest[slots])
        drains &= rest > 0
        gives_out = (fed & (count >= lead)) | (ending & decoding & (rest > 0))
        ended = ending & ~gives_out
        work = Work(
            moves=moves,
            slots=slots,
            generation=self._generation[slots],
            waited_since=self._pushed_at[ring],
            stepped=stepped,
            encoded=encoded,
            fresh=encoded & self._fresh[slots],
            closing=encoded & (taken == self._close_at[slots]),
            left=self._left[slots],
            decoded=gives_out,
            starts=starts,
            fed=fed,
            place=np.where(fed & (count < lead), count, -1),
            primed=(fed & (count == lead)) | (drains & (count <= lead)),
            drains=drains,
            rest=rest,
            ended=ended,
        )
        self._taken[slots] += stepped
        self.scheduler.stepped(slots, stepped)
        self._fresh[slots] &= ~encoded
        self._starts[slots] &= ~fed
        self._fed[slots] = np.minimum(count + fed, lead + 1)
        self._rest[slots] = rest - (ending & gives_out)
        self._ending[slots] &= ~ended
        return work

    def assign_rows(self) -> list[tuple[int, int]]:
        """Fills the rows of freed slots from behind and appends new slots; returns the moves."""
        moves = []
        rows = self._rows
        for row in np.flatnonzero(~self._open[rows[: self._used]])[::-1].tolist():
            self._row_held[rows[row]] = False
            self._used -= 1
            if row != self._used:
                moves.append((self._used, row))
                rows[row] = rows[self._used]
        new = np.flatnonzero(self._open & ~self._row_held)
        rows[self._used : self._used + len(new)] = new
        self._row_held[new] = True
        self._used += len(new)
        return moves
