from __future__ import annotations

import pytest
import torch

from xyt_stream.model.timeline import ClipTimeline


@pytest.fixture
def whole():
    """A causal timeline of so many frames."""

    def make(frames: int, context: int = 20) -> ClipTimeline:
        return ClipTimeline(frames, causal=True, context=context, device=torch.device("cpu"))

    return make
