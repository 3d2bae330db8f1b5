"""Mixes channels down to mono by their layout, and notices stereo of opposite phase."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xyt_stream.audio.samples import Samples

# Speakers as bits of a WAV file's channel mask (WAVEFORMATEXTENSIBLE).
_FL, _FR, _FC, _LFE, _BL, _BR, _FLC, _FRC, _BC, _SL, _SR = (1 << bit for bit in range(11))

# Speech of films and meetings is in the front centre: it keeps its level. Left and right share one.
_FRONT = {_FC: 1.0, _FL: 0.5, _FR: 0.5, _FLC: 0.5, _FRC: 0.5}
_OTHER = 0.25
_SILENT = (_LFE,)

# The order of channels without a mask: in WAV and FLAC, and in Ogg (Vorbis I, section 4.3.9).
_WAV_ORDER = {
    2: (_FL, _FR),
    3: (_FL, _FR, _FC),
    4: (_FL, _FR, _BL, _BR),
    5: (_FL, _FR, _FC, _BL, _BR),
    6: (_FL, _FR, _FC, _LFE, _BL, _BR),
    7: (_FL, _FR, _FC, _LFE, _BC, _SL, _SR),
    8: (_FL, _FR, _FC, _LFE, _BL, _BR, _SL, _SR),
}
_OGG_ORDER = {
    2: (_FL, _FR),
    3: (_FL, _FC, _FR),
    4: (_FL, _FR, _BL, _BR),
    5: (_FL, _FC, _FR, _BL, _BR),
    6: (_FL, _FC, _FR, _BL, _BR, _LFE),
    7: (_FL, _FC, _FR, _SL, _SR, _BC, _LFE),
    8: (_FL, _FC, _FR, _SL, _SR, _BL, _BR, _LFE),
}

_OPPOSITE = 0.05  # energy of the mean of two channels, relative to that of their difference
_LOUD = 1e-7  # mean square above which a block counts as sound
_DECIDED = 3.0  # seconds of sound after which the phase is not examined any more


class Downmix:
    """Mixes blocks of one recording down to mono.

    Args:
        channels: number of channels.
        rate: Hz.
        mask: the WAV channel mask; 0: unknown, the usual order for this number of channels.
        ogg: whether the order without a mask is that of Ogg.

    Attributes:
        opposite_phase: whether the two channels cancelled each other; one was inverted.
    """

    def __init__(self, channels: int, rate: int, *, mask: int = 0, ogg: bool = False) -> None:
        self.opposite_phase = False
        self._weights = _weights(channels, mask, ogg)
        self._undecided = round(_DECIDED * rate) if channels == 2 else 0  # samples
        self._mean_energy = 0.0
        self._difference_energy = 0.0

    def push(self, block: npt.NDArray[np.float32]) -> Samples:
        """float32 [n, channels] -> float32 [n]."""
        if block.shape[1] == 1:
            return block[:, 0]
        if self._undecided > 0 and len(block):
            self._examine(block)
        if self.opposite_phase:
            mono: Samples = (block[:, 0] - block[:, 1]) * np.float32(0.5)
        else:
            mono = block @ self._weights
        return mono

    def _examine(self, block: npt.NDArray[Any]) -> None:
        if np.square(block).mean() < _LOUD:
            return
        left, right = block[:, 0].astype(np.float64), block[:, 1].astype(np.float64)
        self._mean_energy += float(np.square(left + right).sum())
        self._difference_energy += float(np.square(left - right).sum())
        self.opposite_phase = self._mean_energy < _OPPOSITE * self._difference_energy
        self._undecided -= len(block)


def _weights(channels: int, mask: int, ogg: bool) -> npt.NDArray[np.float32]:
    """The weight of each channel, float32 [channels]."""
    speakers = [1 << bit for bit in range(32) if mask >> bit & 1]
    if len(speakers) != channels:
        speakers = list((_OGG_ORDER if ogg else _WAV_ORDER).get(channels, ()))
    if not any(speaker in _FRONT for speaker in speakers):
        return np.full(channels, 1 / channels, np.float32)
    weights = [0.0 if s in _SILENT else _FRONT.get(s, _OTHER) for s in speakers]
    return np.array(weights, np.float32)
