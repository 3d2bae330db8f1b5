"""Predicts how natural listeners find speech, without the original."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import Any

import torch

from xyt_stream.audio import Samples
from xyt_stream.errors import MissingExtraError


def mos(degraded: Samples) -> float:
    """Predicted mean opinion score, 1 to 5 (DistillMOS: Stahl and Gamper, 2025, arXiv 2502.05356).

    Args:
        degraded: float32 [samples] at 16 kHz.

    Raises:
        MissingExtraError: distillmos is not installed, or torchaudio does not fit this torch.
    """
    with torch.inference_mode():
        return float(_model()(torch.from_numpy(degraded)[None]))


@cache
def _model() -> Any:
    try:
        from distillmos import ConvTransformerSQAModel
    except (ImportError, OSError):  # OSError: a torchaudio built for another torch
        raise MissingExtraError("Predicted opinion scores", "eval") from None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights lie
        return ConvTransformerSQAModel().eval()
