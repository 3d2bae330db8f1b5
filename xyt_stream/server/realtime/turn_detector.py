"""Finds the user's turns, as the Realtime protocol's `server_vad` describes them."""

from __future__ import annotations

from dataclasses import dataclass

from xyt_stream.audio import INPUT_RATE, Samples
from xyt_stream.protocol.realtime.settings import ServerVad
from xyt_stream.server.duplex.vad import SpeechDetector, VADParams, VoiceActivity


@dataclass(frozen=True)
class SpeechStarted:
    """The user begins to speak.

    Attributes:
        ms: since the session's first sound, the padding before the speech included.
    """

    ms: int


@dataclass(frozen=True)
class SpeechStopped:
    """The user has stopped speaking.

    Attributes:
        ms: since the session's first sound.
    """

    ms: int


class TurnDetector:
    """Finds turns in all sound that a user sends, in chunks of any size.

    Args:
        detector: a fresh one.
    """

    def __init__(self, detector: SpeechDetector) -> None:
        self._vad = VoiceActivity(params=None, detector=detector)

    @property
    def speaking(self) -> bool:
        """Whether the user's turn goes on, its pauses included."""
        return self._vad.speaking

    @property
    def is_speech(self) -> bool:
        """Whether the latest sound is speech, no pause of a turn."""
        return self._vad.is_speech

    def skip(self, samples: int) -> None:
        """Moves time on by so many samples that are not heard."""
        self._vad.skip(samples)

    def push(self, samples: Samples, settings: ServerVad) -> list[SpeechStarted | SpeechStopped]:
        """Takes float32 [n] at 16 kHz; returns the starts and stops found in it."""
        self._vad.params = VADParams(
            confidence=settings.threshold, stop_secs=settings.silence_duration_ms / 1e3
        )
        return [
            SpeechStarted(max(0, _ms(change.sample) - settings.prefix_padding_ms))
            if change.speaking
            else SpeechStopped(_ms(change.sample))
            for change in self._vad.push(samples)
        ]

    def stop(self) -> None:
        """Ends the current turn at once."""
        self._vad.stop()


def _ms(samples: int) -> int:
    return round(samples * 1e3 / INPUT_RATE)
