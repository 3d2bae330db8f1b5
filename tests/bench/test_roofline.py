from __future__ import annotations

import itertools

import pytest
import torch

from xyt_stream.bench.roofline import Peaks, StepCost, largest, measure_peaks, step_cost


@pytest.mark.parametrize("limit", [0, 1, 3, 7, 8, 9, 31, 100, 256, 1000])
def test_the_search_ends_near_the_limit(limit):
    asked = []

    def works(count):
        asked.append(count)
        return count <= limit

    found = largest(works, start=8, limit=256)
    assert found <= limit
    assert found >= min(256, limit) * 15 / 16 - 1
    assert len(asked) == len(set(asked)) <= 12
    assert max(asked) <= 256


def test_bounds_are_bytes_and_operations_over_the_peaks():
    cost = StepCost(weight_bytes=1_000_000_000, cache_bytes=50_000_000, operations=5_000_000_000)
    one, thousand = (cost.bounds_ms(n, Peaks(1e12, 1e14)) for n in (1, 1000))
    assert one == (pytest.approx(1.05), pytest.approx(0.05))
    assert thousand == (pytest.approx(51), pytest.approx(50))


def test_step_cost_is_counted_in_the_network(codec):
    cost = step_cost(codec.network)
    network = codec.network
    weights = sum(p.numel() for p in network.parameters()) + network.quantizer.codebooks.numel()
    assert cost.weight_bytes == 4 * weights
    state = codec.stream_encoder().stream.all
    assert cost.cache_bytes > 2 * sum(ring.nbytes for ring in state.keys.values())
    # Most weights are used for 4 positions of a frame, the vocoder's for 8, the quantizer's for 1.
    assert 2 * weights < cost.operations < 2 * 8 * weights


def test_peaks_are_work_over_measured_time():
    clock = itertools.count(0, 0.5).__next__  # each call takes half a second
    peaks = measure_peaks(torch.device("cpu"), torch.float32, mib=8, side=128, clock=clock)
    assert peaks.bandwidth == 2 * 8 * 2**20 / 0.5  # read and written
    assert peaks.rate == 2 * 128**3 / 0.5
