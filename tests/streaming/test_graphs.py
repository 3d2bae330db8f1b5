"""Replayed graphs equal the step; without a GPU a list of operations stands in for a graph."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xyt_stream.model.checkpoint import build
from xyt_stream.streaming.decoder import StreamDecoder
from xyt_stream.streaming.encoder import StreamEncoder
from xyt_stream.streaming.graphs import Captured, CudaCapture, Graphs, bucket, buckets


class Tape(TorchDispatchMode):
    """Records every operation of a step with its tensors, and replays them as a CUDA graph."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    @property
    def names(self):
        return [str(func) for func, *_ in self.calls]

    def replay(self):
        with torch.inference_mode():
            for func, args, kwargs, out in self.calls:
                new = func(*args, **kwargs)
                for old, value in zip(tree_leaves(out), tree_leaves(new), strict=True):
                    if old.data_ptr() != value.data_ptr():  # neither a view nor done in place
                        old.copy_(value)


def record(step, x, active):
    step(x, active)
    with Tape() as tape:
        out = step(x, active)
    return Captured(tape.replay, out)


@pytest.fixture
def capture(device):
    return CudaCapture(device) if device.type == "cuda" else record


def halves(codec, slots):
    return [codec.stream_encoder(slots), codec.stream_decoder(slots)]


def inputs(half, rows, generator):
    device = half.device
    if isinstance(half, StreamEncoder):
        return (torch.rand(rows, 1280, generator=generator) - 0.5).to(device)
    return torch.randint(64, (rows, 8), generator=generator).to(device)


@pytest.mark.parametrize(("slots", "expected"), [(1, [1]), (6, [6, 4, 2, 1]), (8, [8, 4, 2, 1])])
def test_buckets_are_powers_of_two_and_all(slots, expected):
    assert buckets(slots) == expected


def test_a_step_runs_in_the_next_bucket():
    assert [bucket(rows, 6) for rows in range(1, 7)] == [1, 2, 4, 4, 6, 6]
    assert bucket(1000, 1000) == 1000


@pytest.mark.device
@pytest.mark.parametrize("model", ["causal", "short_window"])
@pytest.mark.parametrize("which", [0, 1])
@torch.inference_mode()
def test_a_replayed_graph_is_the_step(model, which, request, capture, device):
    """With any number of slots that start, pause and reset, through changes of lanes."""
    codec = request.getfixturevalue(model)
    slots = 3
    eager, graphed = halves(codec, slots)[which], halves(codec, slots)[which]
    noise = torch.Generator().manual_seed(1)
    graphs = Graphs(graphed.run, inputs(graphed, slots, noise), capture)
    for i in range(70):
        rows = 1 + i % slots
        x = inputs(eager, rows, noise)
        active = (torch.rand(rows, generator=noise) < 0.8).to(device)
        expected, got = eager.run(x, active), graphs(x, active)
        assert got.shape == expected.shape
        if which == 0:
            assert torch.equal(got[active], expected[active])
        else:
            assert torch.allclose(got[active], expected[active], rtol=1e-3, atol=1e-5)
        if i % 25 == 20:
            for half in (eager, graphed):
                half.reset(torch.tensor([False, True, False], device=device))
    for one, other in zip(eager.stream.all.tensors(), graphed.stream.all.tensors(), strict=True):
        assert one.dtype == other.dtype
    assert torch.equal(eager.stream.all.frames, graphed.stream.all.frames)


@pytest.mark.device
def test_a_result_outlasts_the_next_replay(causal, capture, device):
    encoder = causal.stream_encoder(2)
    noise = torch.Generator().manual_seed(1)
    graphs = Graphs(encoder.run, torch.zeros(2, 1280, device=device), capture)
    active = encoder.all_slots
    first = graphs(inputs(encoder, 2, noise), active)
    kept = first.clone()
    graphs(inputs(encoder, 2, noise), active)
    assert torch.equal(first, kept)


@pytest.mark.parametrize("model", ["causal", "short_window"])
def test_every_step_is_the_same_operations_on_the_same_state(model, request):
    """No operation depends on the data, and no state is allocated again."""
    codec = request.getfixturevalue(model)
    noise = torch.Generator().manual_seed(1)
    for half in halves(codec, 2):
        state = half.stream.all
        half.run(inputs(half, 2, noise), torch.tensor([True, True]))
        places = [tensor.data_ptr() for tensor in state.tensors()]
        names = []
        for i in range(45):
            x, active = inputs(half, 2, noise), torch.tensor([True, i % 3 > 0])
            with Tape() as tape:
                half.run(x, active)
            names.append(tape.names)
        assert all(other == names[0] for other in names)
        assert [tensor.data_ptr() for tensor in state.tensors()] == places


@pytest.mark.parametrize("model", ["causal", "short_window"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_step_reads_nothing_back_to_the_host(model, dtype, request, monkeypatch):
    """On meta tensors, which have no data: reading one is an error, as is one of another device."""
    config = request.getfixturevalue(model).network.config
    # No autocast surrounds a stream, and torch has none for tensors without data.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)
    with torch.device("meta"):
        network = build(config).to("meta")
        if dtype is not None:
            network.cast(dtype)
        encoder, decoder = StreamEncoder(network, 2), StreamDecoder(network, 2)
        active = torch.ones(2, dtype=torch.bool)
        for half, x in (
            (encoder, torch.zeros(2, 1280)),
            (decoder, torch.zeros(2, 8, dtype=torch.int64)),
        ):
            half.run(x, active)
            with Tape() as tape:
                out = half.run(x, active)
            assert out.is_meta
            for _, args, kwargs, out in tape.calls:
                for tensor in tree_leaves((args, kwargs, out)):
                    if isinstance(tensor, torch.Tensor):
                        assert tensor.is_meta or tensor.ndim == 0
