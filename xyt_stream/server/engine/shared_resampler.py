"""Resamples a stream once for all of its listeners at one rate.

A frame takes a third of a millisecond of the event loop, and a room may have hundreds of listeners.
"""

from __future__ import annotations

import numpy as np

from xyt_stream.audio import (
    Pcm16,
    ResamplerState,
    Samples,
    StreamResampler,
    fit_length,
    scaled_length,
    to_int16,
)

_NOTHING = np.zeros(0, np.float32)


class SharedResampler:
    """Makes 16-bit sound at the listeners' rate, of the exact length of the stream.

    The first listener that has a frame resampled pays for all. For the event loop's thread.

    Args:
        rate_in: Hz of the stream.
        rate: Hz of the listeners.

    Attributes:
        rate: the same.
        origin: position in the stream of the first frame's sound, in samples; None before it.
    """

    def __init__(self, rate_in: int, rate: int) -> None:
        self.rate = rate
        self.origin: int | None = None
        self._rate_in = rate_in
        self._resampler = StreamResampler(rate_in, rate)
        self._sound = _NOTHING  # that was taken last
        self._start: int | None = None  # position of it in the stream
        self._before = (0, 0)  # samples taken and given before it
        self._made = to_int16(_NOTHING)  # of it
        self._rest: Pcm16 | None = None

    def push(self, sound: Samples, start: int, end: int | None) -> Pcm16:
        """Takes a frame's sound, or returns what was made of it when it was taken.

        Args:
            sound: float32 [n].
            start: position of `sound` in the stream, in samples.
            end: length of the whole stream at the listeners' rate, None until it is known.

        Returns:
            int16 [ready].
        """
        if not self._has_taken(sound, start):
            if self.origin is None:
                self.origin = start
            self._sound, self._start, self._before = sound, start, self._position
            missing = None if end is None else self._missing(end)
            self._made = to_int16(self._resampler.push(sound)[:missing])
        return self._made

    def finish(self, tail: Samples, end: int) -> Pcm16:
        """Takes the last sound, float32 [n]; returns the rest, int16 [m], of a stream that long.

        Args:
            tail: float32 [n].
            end: length of the whole stream at the listeners' rate.
        """
        if self.origin is None:
            return self._made
        if self._rest is None:
            missing = self._missing(end)
            rest = np.concatenate([self._resampler.push(tail), self._resampler.flush()])
            self._rest = to_int16(fit_length(rest, missing))
        return self._rest

    def state(self) -> ResamplerState:
        """Returns the state that lets another one continue; see StreamResampler."""
        return self._resampler.state()

    def load(self, origin: int | None, state: ResamplerState) -> None:
        """Goes on where the one of that origin and state was, at the same rates."""
        self.origin = origin
        self._resampler.load(state)

    def follows(self, sound: Samples, start: int) -> bool:
        """Whether a frame is the one that was taken last, or comes next."""
        if self._has_taken(sound, start):
            return True
        return self._start is not None and start == self._start + len(self._sound)

    def can_replace(self, other: SharedResampler, sound: Samples, start: int) -> bool:
        """Whether it gives for this frame what `other`, which has not taken it, would give.

        One that has taken nothing yet can always be replaced: its listener hears, besides, the
        last 15 ms before the frame.
        """
        if self.rate != other.rate:
            return False
        if other.origin is None:
            return True
        position = self._before if self._has_taken(sound, start) else self._position
        return (self.origin, *position) == (other.origin, *other._position)

    def _has_taken(self, sound: Samples, start: int) -> bool:
        return sound is self._sound and start == self._start

    @property
    def _position(self) -> tuple[int, int]:
        return self._resampler.taken, self._resampler.given

    def _missing(self, end: int) -> int:
        """Samples still to be given of a stream that ends there."""
        assert self.origin is not None
        first = scaled_length(self.origin, self._rate_in, self.rate)
        return max(0, end - first - self._resampler.given)


class SharedResamplers:
    """Finds the resampler that a listener can share. For the event loop's thread.

    There is one for each rate, and more only where listeners come from other nodes after different
    parts of the stream.
    """

    def __init__(self) -> None:
        self._shared: list[SharedResampler] = []

    def find(self, own: SharedResampler, sound: Samples, start: int) -> SharedResampler:
        """Returns the resampler with which the listener that has `own` gets a frame.

        Args:
            own: shared from now on, if no other gives the same.
            sound: of the frame, float32 [n].
            start: position of `sound` in the stream, in samples.
        """
        if own in self._shared:
            return own
        self._shared = [each for each in self._shared if each.follows(sound, start)]
        for each in self._shared:
            if each.can_replace(own, sound, start):
                return each
        self._shared.append(own)
        return own
