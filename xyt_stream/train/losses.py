"""Computes the loss of reconstruction: a distance between decoded and original sound."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xyt_stream.model.features import slaney_mels

SCALES = ((2048, 128), (1024, 96), (512, 80), (256, 40), (128, 20))  # (n_fft, mel bins)
FLOOR = 1e-5  # power; quieter than this is silence to the loss
MAGNITUDE = 0.5  # weight of the distance of magnitudes


class MelLoss(nn.Module):
    """Distance of mel spectra at five resolutions, windows a quarter apart.

    At each, the mean absolute difference of log magnitudes, which hears the quiet as well as the
    loud, and the relative Euclidean distance of magnitudes: logarithms alone are content with
    harmonics that are too weak, for a median is all that an absolute difference asks for.
    """

    def __init__(self, rate: int) -> None:
        super().__init__()
        for n_fft, bins in SCALES:
            self.register_buffer(f"filters{n_fft}", slaney_mels(bins, n_fft, rate))
            self.register_buffer(f"window{n_fft}", torch.hann_window(n_fft))

    def mel(self, wav: Tensor, n_fft: int) -> Tensor:
        """[batch, samples] -> mel power [batch, windows, bins], no less than FLOOR."""
        window = self.get_buffer(f"window{n_fft}")
        spectrum = torch.fft.rfft(wav.unfold(-1, n_fft, n_fft // 4) * window)
        power = spectrum.real.square() + spectrum.imag.square()
        mel: Tensor = power @ self.get_buffer(f"filters{n_fft}")
        return mel.clamp(min=FLOOR)

    def forward(self, decoded: Tensor, target: Tensor) -> Tensor:
        """Returns the distance, a scalar, of [batch, samples] twice."""
        total = decoded.new_zeros(())
        for n_fft, _ in SCALES:
            ours, theirs = self.mel(decoded, n_fft), self.mel(target, n_fft)
            total = total + (ours.log() - theirs.log()).abs().mean() / 2
            difference = (ours.sqrt() - theirs.sqrt()).square().sum((1, 2))
            total = total + MAGNITUDE * (difference / theirs.sum((1, 2))).sqrt().mean()
        return total / len(SCALES)
