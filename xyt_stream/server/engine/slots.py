"""What waits in each slot, and what the next step has to do about it: arrays, no loop over slots.

A slot is what a tenant holds, for as long as it stays. A row is a slot's place on the device: rows
in use are always the first ones, so that a step costs what the slots in use cost. When a slot is
given back, the last row moves into its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray

RING = 16  # frames that may wait in a slot

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Work:
    """What one step has to do, row by row; everything is [rows].

    Attributes:
        moves: rows that change their place first, (from, to).
        slots: which slot a row holds, and which of the slot's tenants (`tenancy`).
        waited_since: when the frame was pushed, seconds of the caller's clock.
        stepped: a frame was taken.
        encoded: and is sound.
        fresh: the encoder starts anew, with the slot's lead.
        closing, left: the encoder has `left` frames to give out, this one included.
        decoded: sound comes of it.
        starts: the decoder starts anew.
        hears: the codes of this frame go to the decoder; `place` is where in the slot's lead,
            until that is complete.
        primed: the decoder begins to speak, with the slot's lead.
        drains, rest: the decoder has heard all and has `rest` frames left, this one included.
        ended: nothing is left but the tail.
    """

    moves: list[tuple[int, int]]
    slots: Ints
    tenancy: Ints
    waited_since: npt.NDArray[np.float64]
    stepped: Mask
    encoded: Mask
    fresh: Mask
    closing: Mask
    left: Ints
    decoded: Mask
    starts: Mask
    hears: Mask
    place: Ints
    primed: Mask
    drains: Mask
    rest: Ints
    ended: Mask


class Slots:
    """The slots of an engine. Not for several threads at once: the engine holds a lock.

    Args:
        count: how many.
        frame_samples: in a frame of sound.
        codebooks: in a frame of codes.
        encoder_lead: samples that an encoder hears before its first frame.
        decoder_lead: frames that a decoder hears before it speaks.
    """

    def __init__(
        self,
        count: int,
        *,
        frame_samples: int,
        codebooks: int,
        encoder_lead: int,
        decoder_lead: int,
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
        self._row_held = np.zeros(count, np.bool_)  # by slot: it has a row

        self._open = np.zeros(count, np.bool_)
        self._tenancy = np.zeros(count, np.int64)  # counts a slot's tenants
        self._written = np.zeros(count, np.int64)  # frames put into the ring since `open`
        self._taken = np.zeros(count, np.int64)
        self._last_push = np.zeros(count)
        self._from_codes = np.zeros(count, np.bool_)
        self._fresh = np.zeros(count, np.bool_)
        self._ending = np.zeros(count, np.bool_)
        self._close_at = np.zeros(count, np.int64)  # the first frame with anything beyond the end
        self._left = np.zeros(count, np.int64)
        self._silent_from = np.zeros(count, np.int64)  # frames from here on are silence
        self._decoding = np.zeros(count, np.bool_)
        self._starts = np.zeros(count, np.bool_)
        self._heard = np.zeros(count, np.int64)  # frames, since the decoder started
        self._rest = np.zeros(count, np.int64)  # frames to drain; -1 before it is known

    def open(self, slot: int, *, from_codes: bool) -> None:
        """A fresh stream in a slot that is free."""
        self._open[slot] = self._fresh[slot] = True
        self._tenancy[slot] += 1
        self._from_codes[slot] = from_codes
        self._written[slot] = self._taken[slot] = self._heard[slot] = 0
        self._ending[slot] = self._decoding[slot] = self._starts[slot] = False
        self._close_at[slot] = self._rest[slot] = -1
        self._silent_from[slot] = np.iinfo(np.int64).max
        self.lead[slot] = 0

    def close(self, slot: int) -> None:
        """The slot is free, whatever is still in it."""
        self._open[slot] = self._ending[slot] = False
        self._tenancy[slot] += 1
        self._written[slot] = self._taken[slot] = 0

    def decode(self, slot: int, wanted: bool) -> None:
        """Whether frames from now on are decoded; turned on, the decoder starts afresh."""
        self._starts[slot] |= wanted and not self._decoding[slot]
        self._decoding[slot] = wanted

    def push(self, slot: int, frame: Samples | CodeArray, now: float) -> None:
        """One frame, float32 [frame_samples] or int64 [codebooks]; at most RING may wait."""
        assert self._written[slot] - self._taken[slot] < RING
        row = slot * RING + self._written[slot] % RING
        (self._codes if self._from_codes[slot] else self._pcm)[row] = frame
        self._pushed_at[row] = self._last_push[slot] = now
        self._written[slot] += 1

    def end(self, slot: int, left: int, last: Samples | None, now: float) -> None:
        """`left` frames come out after those that wait: `last`, if there is one, then silence."""
        self._close_at[slot] = start = self._written[slot]
        if last is not None:
            self.push(slot, last, now)
        self._silent_from[slot] = self._written[slot]
        self._written[slot] = start + left
        silence = slot * RING + np.arange(start, start + min(left, RING)) % RING
        self._pushed_at[silence] = now  # not the time of the frame that lay there before
        self._left[slot] = left
        self._ending[slot] = True

    @property
    def waiting(self) -> bool:
        """Whether there is anything to do."""
        return bool((self._written > self._taken).any() or self._ending.any())

    def expected(self, after: float, before: float) -> bool:
        """Whether a frame is due soon, somewhere: the last one came between these two times."""
        idle = (self._written == self._taken) & self._open & (self._written > 0) & ~self._ending
        return bool((idle & (self._last_push > after) & (self._last_push < before)).any())

    def tenancy(self, slot: int) -> int:
        """Which of its tenants a slot has now."""
        return int(self._tenancy[slot])

    def take(self, pcm: Samples, codes: CodeArray) -> Work:
        """The next step: one frame of each slot that has one, into `pcm` and `codes`, by rows."""
        moves = self._settle()
        slots = self._rows[: self._used].copy()
        taken = self._taken[slots]
        stepped = self._written[slots] > taken
        ending = self._ending[slots] & ~stepped
        ring = self._ring_start[slots] + taken % RING
        np.take(self._pcm, ring, axis=0, out=pcm[: len(slots)], mode="clip")
        np.take(self._codes, ring, axis=0, out=codes[: len(slots)], mode="clip")
        pcm[: len(slots)][taken >= self._silent_from[slots]] = 0
        from_codes = stepped & self._from_codes[slots]
        codes[: len(slots)][~from_codes] = 0  # a code that no codebook has fails a whole step
        encoded = stepped & ~from_codes

        decoding = self._decoding[slots]
        hears = stepped & decoding
        starts = hears & self._starts[slots]
        heard = np.where(self._starts[slots], 0, self._heard[slots])
        lead = self._decoder_lead
        drains = ending & decoding & (self._rest[slots] < 0)
        rest = np.where(drains, np.minimum(heard, lead), self._rest[slots])
        drains &= rest > 0
        speaks = (hears & (heard >= lead)) | (ending & decoding & (rest > 0))
        ended = ending & ~speaks
        work = Work(
            moves=moves,
            slots=slots,
            tenancy=self._tenancy[slots],
            waited_since=self._pushed_at[ring],
            stepped=stepped,
            encoded=encoded,
            fresh=encoded & self._fresh[slots],
            closing=encoded & (taken == self._close_at[slots]),
            left=self._left[slots],
            decoded=speaks,
            starts=starts,
            hears=hears,
            place=np.where(hears & (heard < lead), heard, -1),
            primed=(hears & (heard == lead)) | (drains & (heard <= lead)),
            drains=drains,
            rest=rest,
            ended=ended,
        )
        self._taken[slots] += stepped
        self._fresh[slots] &= ~encoded
        self._starts[slots] &= ~hears
        self._heard[slots] = np.minimum(heard + hears, lead + 1)
        self._rest[slots] = rest - (ending & speaks)
        self._ending[slots] &= ~ended
        return work

    def _settle(self) -> list[tuple[int, int]]:
        """Rows of slots that were given back are filled up from behind; new slots come last."""
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
