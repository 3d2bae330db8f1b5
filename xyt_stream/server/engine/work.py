"""Defines the plan of one step of the device, in arrays with one value for each row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Work:
    """The plan of one step, row by row; every array is [rows].

    Attributes:
        moves: rows that change their place before the step, (from, to).
        slots: the slot in each row.
        generation: counts the slot's owners; it separates this owner's results from the next one's.
        waited_since: time at which the frame was pushed, seconds of the caller's clock.
        stepped: a frame was taken from the ring.
        encoded: the frame is sound and goes through the encoder.
        fresh: the encoder is reset and primed with the slot's lead first.
        closing, left: the encoder's input has ended; `left` frames come out, this one included.
        decoded: the decoder gives out a frame of sound.
        starts: the decoder is reset first.
        fed: the frame's codes go into the decoder.
        place: index of the frame in the decoder's lead while that fills up, otherwise -1.
        primed: the decoder's lead is complete and primes it now.
        drains, rest: the decoder's input has ended; `rest` frames come out, this one included.
        ended: only the decoder's tail is left.
    """

    moves: list[tuple[int, int]]
    slots: Ints
    generation: Ints
    waited_since: npt.NDArray[np.float64]
    stepped: Mask
    encoded: Mask
    fresh: Mask
    closing: Mask
    left: Ints
    decoded: Mask
    starts: Mask
    fed: Mask
    place: Ints
    primed: Mask
    drains: Mask
    rest: Ints
    ended: Mask
