"""Silero's voice activity detector, whose weights come with its package."""

from __future__ import annotations

import torch

from xyt_stream.audio import INPUT_RATE, Samples


class SpeechDetector:
    """Tells speech from other sounds, in one stream at a time.

    Attributes:
        window: samples at 16 kHz that it judges at once.
    """

    window = 512

    def __init__(self) -> None:
        threads = torch.get_num_threads()
        import silero_vad

        torch.set_num_threads(threads)  # its import sets them to one, for all of the process
        self._model = silero_vad.load_silero_vad()

    def __call__(self, samples: Samples) -> float:
        """How likely float32 [window] is speech, 0 to 1."""
        with torch.inference_mode():
            return float(self._model(torch.from_numpy(samples), INPUT_RATE))

    def reset(self) -> None:
        """The next sound is another stream's."""
        self._model.reset_states()


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
