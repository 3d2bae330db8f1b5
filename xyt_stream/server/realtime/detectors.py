"""Speech detectors to be used again: loading one takes tens of milliseconds."""

from __future__ import annotations

from xyt_stream.server.detector import SpeechDetector


class Detectors:
    """Those of a server that are not in use."""

    def __init__(self) -> None:
        self._spare: list[SpeechDetector] = []

    def take(self) -> SpeechDetector:
        """A fresh one; may be called in any thread."""
        return self._spare.pop() if self._spare else SpeechDetector()

    def give_back(self, detector: SpeechDetector) -> None:
        """It is not used any more."""
        detector.reset()
        self._spare.append(detector)
