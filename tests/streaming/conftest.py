from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from xyt_stream import Codec
from xyt_stream.audio import read_audio
from xyt_stream.model.checkpoint import Checkpoint
from xyt_stream.model.config import ModelConfig, QuantizerConfig, StackConfig, VocoderConfig
from xyt_stream.model.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def speech(fixtures: Path) -> Tensor:
    """Two seconds of real speech, float32, no whole number of frames."""
    return torch.from_numpy(read_audio(fixtures / "speech.flac")[0])


@pytest.fixture(scope="session")
def frames(speech: Tensor) -> Tensor:
    """The whole frames of it, [frames, 1280]."""
    return speech[: len(speech) // 1280 * 1280].view(-1, 1280)


def tiny_config(causal: bool, context: int) -> ModelConfig:
    def stack(layers: int) -> StackConfig:
        return StackConfig(width=32, layers=layers, heads=2, ffn=48)

    return ModelConfig(
        name="tiny",
        causal=causal,
        context=context,
        output_rate=24_000,
        semantic_encoder=stack(2),
        semantic_adapter=stack(1),
        acoustic_encoder=stack(2),
        pre_rvq_adapter=stack(1),
        quantizer=QuantizerConfig(dim=16, codebooks=8, codebook_size=64, beam=4),
        post_rvq_adapter=stack(1),
        acoustic_decoder=stack(2),
        vocoder=VocoderConfig(width=24, ffn=32, blocks=2, n_fft=960, hop=240),
    )


def tiny(causal: bool, context: int, device: torch.device) -> Codec:
    """A network of random weights, small enough for many steps."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Tokenizer(tiny_config(causal, context)).eval().requires_grad_(False)
        network.quantizer.codebooks.mul_(0.3)
        network.quantizer.refresh()
    return Codec(Checkpoint(network.to(device), "none"))


@pytest.fixture(scope="session")
def bidirectional(device: torch.device) -> Codec:
    """As published: attention over 375 frames both ways, 24 kHz out."""
    return tiny(causal=False, context=375, device=device)


@pytest.fixture(scope="session")
def short_window(device: torch.device) -> Codec:
    """A bidirectional model whose window is 40 frames, so that streams soon outlast it."""
    return tiny(causal=False, context=40, device=device)


@pytest.fixture(scope="session")
def causal(device: torch.device) -> Codec:
    """A causal model whose attention reaches 5 frames back."""
    return tiny(causal=True, context=5, device=device)
