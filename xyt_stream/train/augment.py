"""Augments speech as voices, rooms and microphones differ.

The codec is asked to give back what it heard, so a crop is augmented before it is both input and
target.
"""

from __future__ import annotations

import numpy as np
import soxr

from xyt_stream.audio import INPUT_RATE, Samples

SPEED = (0.85, 1.18)  # pitch and tempo together, as a tape would
TELEPHONE = 0.1  # share of crops limited in band
LOW_CUT, HIGH_CUT = (60.0, 300.0), (3_000.0, 7_000.0)  # Hz
ROOM = 0.2  # share of crops in a room
DECAY = (0.05, 0.4)  # seconds until its echo has lost 60 dB
NOISE = 0.3  # share of crops with noise
NOISE_DB = (-45.0, -15.0)  # of the noise, below the speech
GAIN_DB = (-18.0, 6.0)  # what laptops and headsets differ by
SILENCE = 0.1  # share of crops that start with digital silence, which recordings never hold
PEAK = 0.99


class Augment:
    """Applies random changes of speed, band, room, noise and level.

    Args:
        rng: draws them.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    @staticmethod
    def source_samples(samples: int) -> int:
        """Returns the length that `speed` may need for a crop of `samples`."""
        return int(np.ceil(samples * SPEED[1])) + 16

    def speed(self, source: Samples, samples: int) -> tuple[float, Samples]:
        """Returns a factor and a crop of `samples` that is played so many times faster."""
        factor = self.rng.uniform(*SPEED)
        piece = source[: int(np.ceil(samples * factor)) + 8]
        sped: Samples = soxr.resample(piece, INPUT_RATE * factor, INPUT_RATE)
        return factor, sped[:samples]

    def __call__(self, crop: Samples) -> Samples:
        """Augments float32 [samples]; the result never clips."""
        if self.rng.random() < ROOM:
            crop = self.room(crop)
        if self.rng.random() < TELEPHONE:
            crop = self.band(crop)
        if self.rng.random() < NOISE:
            crop = crop + self.noise(crop)
        gain = 10 ** (self.rng.uniform(*GAIN_DB) / 20)
        crop = crop * np.float32(min(gain, PEAK / max(np.abs(crop).max(), 1e-4)))
        if self.rng.random() < SILENCE:
            crop[: self.rng.integers(len(crop))] = 0
        return crop

    def room(self, crop: Samples) -> Samples:
        """Adds an echo of decaying noise."""
        seconds = self.rng.uniform(*DECAY)
        time = np.arange(int(seconds * INPUT_RATE)) / INPUT_RATE
        echo = self.rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
        echo *= self.rng.uniform(0.1, 0.6) / np.linalg.norm(echo)
        echo[0] += 1
        length = len(crop) + len(echo)
        wet = np.fft.irfft(np.fft.rfft(crop, length) * np.fft.rfft(echo, length), length)
        return np.asarray(wet[: len(crop)], np.float32)

    def band(self, crop: Samples) -> Samples:
        """Limits the band to two random frequencies, with the slopes of a cheap microphone."""
        low, high = self.rng.uniform(*LOW_CUT), self.rng.uniform(*HIGH_CUT)
        hertz = np.fft.rfftfreq(len(crop), 1 / INPUT_RATE)
        response = 1 / np.sqrt(1 + (low / np.maximum(hertz, 1)) ** 8)
        response /= np.sqrt(1 + (hertz / high) ** 16)
        return np.asarray(np.fft.irfft(np.fft.rfft(crop) * response, len(crop)), np.float32)

    def noise(self, crop: Samples) -> Samples:
        """Returns noise of a random colour, white to brown, below the level of the crop."""
        hertz = np.maximum(np.fft.rfftfreq(len(crop), 1 / INPUT_RATE), 20.0)
        colour = hertz ** -self.rng.uniform(0, 1)
        noise = np.fft.irfft(np.fft.rfft(self.rng.standard_normal(len(crop))) * colour, len(crop))
        level = np.sqrt(np.mean(crop**2)) * 10 ** (self.rng.uniform(*NOISE_DB) / 20)
        return np.asarray(noise * level / np.sqrt(np.mean(noise**2)), np.float32)
