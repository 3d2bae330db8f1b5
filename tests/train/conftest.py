from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from xyt_stream.model.config import ModelConfig, QuantizerConfig, StackConfig, VocoderConfig, mini


@pytest.fixture
def speech(tmp_path: Path, fixtures: Path) -> Path:
    """A folder of two sources, each with two clips of four seconds."""
    for source in ("one", "two"):
        (tmp_path / "speech" / source).mkdir(parents=True)
        for name in ("a", "b"):
            shutil.copy(fixtures / "speech.flac", tmp_path / "speech" / source / f"{name}.flac")
    return tmp_path / "speech"


def tiny() -> ModelConfig:
    """A causal network that a test can train."""
    stack = StackConfig(width=32, layers=1, heads=2, ffn=64)
    stacks = dict.fromkeys(mini().stacks(), stack)
    return msgspec.structs.replace(
        mini(),
        **stacks,
        quantizer=QuantizerConfig(dim=16, codebooks=2, codebook_size=32, beam=4),
        vocoder=VocoderConfig(width=32, ffn=64, blocks=1, n_fft=480, hop=160),
    )
