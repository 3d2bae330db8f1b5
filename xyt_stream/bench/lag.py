"""Makes clicks and finds the lag between sent and received sound."""

from __future__ import annotations

import numpy as np

from xyt_stream.audio import INPUT_RATE, Pcm16, Samples, to_int16

RESOLUTION = 0.001  # s, of `envelope_lag`
_SMOOTH = 0.01  # s over which a codec smears a click


def clicks(seconds: float, every: float = 0.7, *, seed: int = 0) -> Pcm16:
    """Makes clicks of 30 ms at uneven distances in a quiet tone, int16 [samples] at 16 kHz."""
    random = np.random.default_rng(seed)
    time_of = np.arange(round(seconds * INPUT_RATE)) / INPUT_RATE
    sound = 0.01 * np.sin(2 * np.pi * 220 * time_of)
    click = np.zeros(480)
    click[::80] = 0.6  # pulses at 200 Hz, as of a voice, which the codec is trained for
    for at in np.arange(0.4, seconds - 0.2, every):
        start = round((at + random.uniform(0, every / 3)) * INPUT_RATE)
        sound[start : start + len(click)] += np.convolve(click, np.hanning(24), "same")
    return to_int16(sound)


def envelope_lag(sent: Samples, received: Samples, sent_rate: int, received_rate: int) -> float:
    """Returns the seconds, to RESOLUTION, by which `received` is later than `sent`.

    Their envelopes are compared, because a codec does not keep the waveform.

    Args:
        sent, received: float32 [samples], each at its rate; both start at the same time.
    """
    return RESOLUTION * shift(_envelope(sent, sent_rate), _envelope(received, received_rate))


def shift(first: Samples, second: Samples) -> int:
    """Returns the shift in samples, 0 or more, at which `second` correlates best with `first`."""
    size = len(first) + len(second)
    spectrum = np.fft.rfft(second, size) * np.conj(np.fft.rfft(first, size))
    return int(np.fft.irfft(spectrum, size)[: len(second)].argmax())


def _envelope(samples: Samples, rate: int) -> Samples:
    step = round(rate * RESOLUTION)
    power = np.square(samples[: len(samples) // step * step]).reshape(-1, step).mean(axis=1)
    window = np.hanning(round(_SMOOTH / RESOLUTION) + 2)
    smooth: Samples = np.sqrt(np.convolve(power, window / window.sum(), "same"))
    centred: Samples = smooth - smooth.mean()
    return centred
