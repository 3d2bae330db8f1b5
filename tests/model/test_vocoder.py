from __future__ import annotations

import torch

from xyt_stream.model.config import VocoderConfig
from xyt_stream.model.vocoder import ISTFTHead


def test_overlap_add_inverts_windowing(whole):
    """Windows cut out of a signal, as the head makes them, add up to the signal."""
    for n_fft in (480, 640):
        head = ISTFTHead(VocoderConfig(width=8, ffn=8, blocks=1, n_fft=n_fft, hop=160))
        wav = torch.randn(1, 16 * 160)
        cut = (n_fft - 160) // 2
        padded = torch.nn.functional.pad(wav, (cut, cut))
        windows = padded.unfold(-1, n_fft, 160) * head.window.square()
        assert torch.allclose(whole(2).overlap_add(head, windows), wav, atol=1e-5)


def test_loud_features_stay_finite(whole):
    head = ISTFTHead(VocoderConfig(width=8, ffn=8, blocks=1, n_fft=480, hop=160))
    assert torch.isfinite(head(torch.full((1, 8, 8), 1e6), whole(1))).all()
