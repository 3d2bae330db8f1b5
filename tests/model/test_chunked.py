from __future__ import annotations

import torch

from xyt_stream.audio import read_audio
from xyt_stream.model import chunked
from xyt_stream.model.timeline import ClipTimeline, Framewise


def test_reach_of_the_default_is_five_layers(codec):
    config = codec.network.config
    assert chunked.reach(config) == 5 * config.context + 1


def test_latents_equal_a_streams_to_the_bit(codec, fixtures):
    """Otherwise the cut would decide between two vectors that are equally near."""
    wav = torch.from_numpy(read_audio(fixtures / "speech.flac")[0])[: 25 * 1280]
    network, context = codec.network, codec.network.config.context
    device = torch.device("cpu")
    encoder = codec.stream_encoder()
    stream = encoder.stream
    live = []
    with torch.inference_mode():
        for frame in wav.view(-1, 1, 1280):
            stream.begin(torch.ones(1, dtype=torch.bool), 1, 1)
            live.append(network.latent(frame, stream))
            stream.finish()
        whole = network.latent(wav[None], Framewise(25, 0, context=context, device=device))
        masked = ClipTimeline(25, causal=True, context=context, device=device)
        usual = network.latent(wav[None], masked)
    assert torch.equal(torch.cat(live, dim=1), whole)
    assert torch.allclose(usual, whole, atol=1e-4)


def test_chunk_size_changes_no_code(codec, fixtures, monkeypatch):
    wav = torch.from_numpy(read_audio(fixtures / "speech.flac")[0]).repeat(7)[None]
    whole = chunked.encode(codec.network, wav)
    assert whole.shape == (1, 8, 179)
    monkeypatch.setattr(chunked, "CHUNK", 23)
    assert torch.equal(chunked.encode(codec.network, wav), whole)
