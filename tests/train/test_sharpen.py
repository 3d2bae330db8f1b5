from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, Pcm16
from xyt_stream.errors import ModelError
from xyt_stream.model import checkpoint, hub
from xyt_stream.model.timeline import ClipTimeline
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.train import sharpen as module
from xyt_stream.train.sharpen import ENVELOPE, FINE, LEVEL, mean_log_magnitudes, sharpen, widening


@pytest.fixture(scope="module")
def clip(fixtures: Path) -> Pcm16:
    from xyt_stream.train.corpus import load_clip

    return load_clip(fixtures / "speech.flac")


def load(path: Path) -> checkpoint.Checkpoint:
    return checkpoint.load(hub.find(path))


def coded(network: Tokenizer, clip: Pcm16) -> tuple[Tensor, Tensor]:
    """Codes of a clip, and the log magnitudes that they are decoded to."""
    frames = len(clip) // FRAME_SAMPLES
    wav = torch.from_numpy(clip[: frames * FRAME_SAMPLES].astype(np.float32) / 32768)[None]
    config = network.config
    timeline = ClipTimeline(
        frames, causal=config.causal, context=config.context, device=torch.device("cpu")
    )
    found: list[Tensor] = []
    with torch.no_grad():
        hook = network.decoder.vocoder.head.out.register_forward_hook(
            lambda layer, args, output: found.append(output.chunk(2, dim=-1)[0][0])
        )
        codes = network.encode(wav, timeline)
        network.decode(codes, timeline)
        hook.remove()
    return codes, found[0]


def test_each_part_of_a_spectrum_is_widened_by_its_factor() -> None:
    bins = 241
    place = (torch.arange(bins) + 0.5) * math.pi / bins
    for periods, factor in ((0, LEVEL), (1, ENVELOPE), (19, ENVELOPE), (20, FINE), (200, FINE)):
        part = torch.cos(periods * place)
        torch.testing.assert_close(widening(bins) @ part, factor * part, atol=1e-5, rtol=0)


def test_log_magnitudes_move_away_from_their_means_and_codes_stay(
    tiny_causal: Path, clip: Pcm16, tmp_path: Path
) -> None:
    path = tmp_path / "sharp.safetensors"
    sharpen(hub.find(tiny_causal), [clip], path)
    before, after = load(tiny_causal), load(path)
    assert after.hash == before.hash
    codes, flat = coded(before.network, clip)
    same, sharp = coded(after.network, clip)
    assert torch.equal(codes, same)
    mean = mean_log_magnitudes(before.network, [clip])
    expected = mean + (flat - mean) @ widening(len(mean)).T
    torch.testing.assert_close(sharp, expected, atol=0.02, rtol=0.01)  # written in float16
    assert not torch.allclose(sharp, flat, atol=0.02, rtol=0.01)


def test_pauses_and_clips_of_less_than_a_frame_do_not_count(tiny_causal: Path, clip: Pcm16) -> None:
    network = load(tiny_causal).network
    mean = mean_log_magnitudes(network, [clip])
    short = np.zeros(FRAME_SAMPLES - 1, np.int16)
    torch.testing.assert_close(mean_log_magnitudes(network, [short, clip, short]), mean)
    assert torch.equal(mean_log_magnitudes(network, [short]), torch.zeros(len(mean)))


def test_factors_of_one_change_nothing(
    tiny_causal: Path, clip: Pcm16, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LEVEL", "ENVELOPE", "FINE"):
        monkeypatch.setattr(module, name, 1.0)
    path = tmp_path / "same.safetensors"
    sharpen(hub.find(tiny_causal), [clip], path)
    before, after = (coded(load(each).network, clip)[1] for each in (tiny_causal, path))
    torch.testing.assert_close(before, after, atol=0.01, rtol=0.01)


def test_published_models_are_refused(published_weights: Path, clip: Pcm16, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="causal"):
        sharpen(hub.find(published_weights), [clip], tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
