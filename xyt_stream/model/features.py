"""Computes log-mel features, the input of the encoder."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE
from xyt_stream.model.config import MEL_HOP, MEL_WINDOW
from xyt_stream.model.phasors import power_spectrum
from xyt_stream.model.precision import full_precision
from xyt_stream.model.timeline import Tailed, Timeline

CAUSAL_FLOOR = 1e-7  # mel power below this is silence; about the noise of 16-bit sound
CENTRED_FLOOR = 1e-10  # the published model's; its floor below the loudest value follows
RANGE = 8.0  # decades of power between the loudest value and that floor


def slaney_mels(bins: int, n_fft: int, rate: int) -> Tensor:
    """Slaney's mel filters with area normalisation, 0 Hz to rate / 2: [n_fft / 2 + 1, bins].

    Linear below 1 kHz (200/3 Hz a mel), logarithmic above (27 mels for a factor of 6.4), as in
    the Auditory Toolbox, 1998.
    """
    knee, per_mel, log_step = 1000.0, 200.0 / 3, np.log(6.4) / 27
    top = knee / per_mel + np.log(rate / 2 / knee) / log_step
    mels = np.linspace(0.0, top, bins + 2)
    above = mels >= knee / per_mel
    hertz = np.where(above, knee * np.exp(log_step * (mels - knee / per_mel)), mels * per_mel)
    grid = np.linspace(0.0, rate / 2, n_fft // 2 + 1)
    rise = (grid[:, None] - hertz[None, :-2]) / np.diff(hertz)[None, :-1]
    fall = (hertz[None, 2:] - grid[:, None]) / np.diff(hertz)[None, 1:]
    filters = np.maximum(0.0, np.minimum(rise, fall)) * (2.0 / (hertz[2:] - hertz[:-2]))
    return torch.from_numpy(filters.astype(np.float32))


class LogMel(Tailed):
    """80 log-mel bins at 100 Hz, scaled to about -1 to 1.5 as Whisper does.

    Causal: each window ends where its hop ends, and silence has a fixed floor. Centred, as
    published: each window is centred on its hop's first sample, which takes 200 samples of the
    future and gives one mel frame more for the convolution that follows; the floor lies 80 dB below
    the loudest value.
    """

    channels = 1
    filters: Tensor
    window: Tensor

    def __init__(self, bins: int, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.left = MEL_WINDOW - MEL_HOP if causal else MEL_WINDOW // 2
        self.ahead = 0 if causal else MEL_WINDOW // 2
        self.reflects = not causal
        filters = slaney_mels(bins, MEL_WINDOW, INPUT_RATE)
        self.register_buffer("filters", filters, persistent=False)
        window = torch.hann_window(MEL_WINDOW, dtype=torch.float32, device="cpu")
        self.register_buffer("window", window, persistent=False)

    @full_precision
    def forward(self, wav: Tensor, timeline: Timeline) -> Tensor:
        """[batch, samples + ahead] -> [batch, 8 * frames, bins], and 1 more if centred.

        A centred clip without samples ahead fills its 30 s window: the published code mirrors its
        end, and its convolutions see zeros beyond.
        """
        closed = wav.shape[1] - timeline.frames * FRAME_SAMPLES < self.ahead
        if closed:
            wav = F.pad(wav, (0, self.ahead), mode="reflect")
        wav = timeline.extend(self, wav[:, :, None])[:, :, 0]
        windows = wav.unfold(-1, MEL_WINDOW, MEL_HOP) * self.window
        mel: Tensor = power_spectrum(windows) @ self.filters
        if self.causal:
            return _scale(mel.clamp(min=CAUSAL_FLOOR).log10())
        mel = mel.clamp(min=CENTRED_FLOOR).log10()
        mel = _scale(torch.maximum(mel, timeline.loudest(mel) - RANGE))
        return F.pad(mel[:, :-1], (0, 0, 0, 1)) if closed else mel


def _scale(log_mel: Tensor) -> Tensor:
    return (log_mel + 4) / 4
