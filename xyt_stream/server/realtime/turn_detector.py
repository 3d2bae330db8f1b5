"""Finds where a user begins and ends to speak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xyt_stream.audio import INPUT_RATE, Samples
from xyt_stream.protocol.realtime.settings import ServerVad
from xyt_stream.server.duplex.vad import SpeechDetector

_ONSET = 0.09  # seconds of speech that begin a turn: a cough is shorter


@dataclass(frozen=True)
class Started:
    """The user has begun to speak."""

    ms: int  # since the first sound of all; the padding before speech included


@dataclass(frozen=True)
class Stopped:
    """The user is silent."""

    ms: int


class Turns:
    """Hears all that a user sends, in pieces of any size.

    Attributes:
        speaking: whether the user does.
    """

    def __init__(self, detector: SpeechDetector) -> None:
        self.speaking = False
        self._detector = detector
        self._waiting = np.zeros(0, np.float32)  # less than a window
        self._heard = 0  # samples
        self._sure = 0  # samples in a row that were speech; while it speaks, that were not

    def hear(self, samples: Samples, settings: ServerVad | None) -> list[Started | Stopped]:
        """What float32 [n] more at 16 kHz tell. Without settings nobody asks, but time goes on."""
        window = self._detector.window
        waiting = np.concatenate([self._waiting, samples])
        whole = len(waiting) // window * window
        self._waiting = waiting[whole:]
        found: list[Started | Stopped] = []
        for piece in waiting[:whole].reshape(-1, window):
            self._heard += window
            if settings is not None and (event := self._judge(piece, settings)):
                found.append(event)
        return found

    def reset(self) -> None:
        """Whatever was said, the user is silent now."""
        self.speaking = False
        self._sure = 0

    def _judge(self, piece: Samples, settings: ServerVad) -> Started | Stopped | None:
        speech = self._detector(piece) >= settings.threshold
        self._sure = self._sure + len(piece) if speech != self.speaking else 0
        patience = settings.silence_duration_ms / 1e3 if self.speaking else _ONSET
        if self._sure == 0 or self._sure < patience * INPUT_RATE:
            return None
        self.speaking = not self.speaking
        begun, self._sure = self._heard - self._sure, 0
        if not self.speaking:
            return Stopped(_ms(self._heard))
        return Started(max(0, _ms(begun) - settings.prefix_padding_ms))


def _ms(samples: int) -> int:
    return round(samples * 1e3 / INPUT_RATE)
