from __future__ import annotations

import importlib.util
import json
import math

import numpy as np
import pytest
import torch

from xyt_stream import Codec
from xyt_stream.audio import Pcm16, to_float32
from xyt_stream.bench import codec as bench
from xyt_stream.bench.baselines import GET_MOSHI, Naive, full_size, naive
from xyt_stream.bench.codec import compare
from xyt_stream.bench.codec_figures import Comparison, Result
from xyt_stream.bench.plot import draw_steps


@pytest.fixture(scope="module")
def comparison(codec: Codec) -> Comparison:
    return compare(codec, streams=(3, 1), frames=10, seconds=3)


def test_mimi_is_compared_or_its_installation_is_named(comparison: Comparison) -> None:
    figures = json.loads(json.dumps(comparison.flat(), allow_nan=False))
    assert figures["streams"] == [1, 3]
    for name in ("step_ms", "encode_ms", "decode_ms", "products_ms", "step_ms_3"):
        assert 0 < figures[name]["median"] <= figures[name]["p99"]
    if importlib.util.find_spec("moshi"):
        assert figures["mimi_ratio"] == (
            figures["mimi_step_ms"]["median"] / figures["step_ms"]["median"]
        )
        assert figures["mimi_model_mib"] > 200
        assert figures["mimi_stream_mib"] > 1
    else:
        assert "mimi_ratio" not in figures
        assert any(GET_MOSHI in note for note in comparison.notes)


def test_one_stream_is_compared_in_onnxruntime(comparison: Comparison, codec: Codec) -> None:
    (result,) = (r for r in comparison.results if r.key == "edge_")
    assert result.streams == 1
    figures = comparison.flat()
    assert figures["edge_ratio"] == result.both["median"] / figures["step_ms"]["median"]
    assert "edge_ratio_3" not in figures
    assert 0.1 < result.stream_mib < 4


def test_matrix_products_are_timed_on_a_cpu(comparison: Comparison) -> None:
    one, three = (r for r in comparison.results if not r.key)
    for result in (one, three):
        assert result.share == result.products["median"] / result.both["median"]
    # The same products for three streams as for one: three times the operations.
    operations = [r.gigaflops * r.products["median"] for r in (one, three)]
    assert 2.5 < operations[1] / operations[0] < 3.5
    assert one.kernels is None


def test_memory_counts_weights_and_state(comparison: Comparison, codec: Codec) -> None:
    mine = [r for r in comparison.results if not r.key]
    weights = sum(p.nbytes for p in codec.network.parameters()) / 2**20
    assert weights < mine[0].model_mib < 2.5 * weights
    rings = codec.stream_encoder().stream.all.keys.values()
    assert mine[0].stream_mib > 2 * sum(ring.nbytes for ring in rings) / 2**20
    assert mine[1].stream_mib == pytest.approx(mine[0].stream_mib, rel=0.05)


def test_the_number_of_threads_is_restored(codec: Codec) -> None:
    before = torch.get_num_threads()
    assert compare(codec, frames=1, threads=1, seconds=0.1).threads == 1
    assert torch.get_num_threads() == before


@torch.inference_mode()
def test_full_size_baselines_step_all_streams(published: Codec) -> None:
    for codec in (
        naive(published.network, 2),
        full_size(published, 2, windows=1),
        full_size(published, 2, windows=2),
    ):
        codes = codec.encode()
        assert codes.shape[:2] == (2, 8)
        assert codec.decode(codes).shape == (2, published.frame_samples_out)


@torch.inference_mode()
def test_the_naive_baseline_codes_the_last_ten_seconds(published: Codec, clip: Pcm16) -> None:
    live = Naive(published.network, 1)
    live.sound.copy_(torch.from_numpy(to_float32(np.resize(clip, live.sound.shape))))
    for _ in range(30):
        last = live.sound.roll(-1280, dims=1)
        codes = live.encode()
        assert torch.equal(codes, published.encode(last)[:, :, -1:])
        sound = live.decode(codes)
        assert torch.equal(sound, published.decode(live.codes)[:, -len(sound[0]) :])
    assert live.codes[0].unique(dim=1).shape[1] > 10  # the frames differ


def result(name: str, key: str, streams: int, ms: float) -> Result:
    times = {"median": ms, "p99": 2 * ms}
    return Result(name, key, streams, times, times, times, None, None, None, 1.0, 500.0)


def test_too_slow_and_too_large_codecs_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    done = [result("slow", "s_", 1, 3000), result("big", "b_", 8, 1)]
    cpu = torch.device("cpu")
    assert bench._obstacle("slow", 8, done, cpu) is None
    assert bench._obstacle("slow", 32, done, cpu) == bench.TOO_SLOW
    assert bench._obstacle("new", 32, done, cpu) is None
    monkeypatch.setattr(bench, "_free_mib", lambda device: 5000.0)
    assert bench._obstacle("big", 10, done, cpu) is None
    assert bench._obstacle("big", 11, done, cpu) == bench.NO_MEMORY


def test_ratios_compare_equal_numbers_of_streams(tmp_path) -> None:  # type: ignore[no-untyped-def]
    results = [result("m", "", n, n * 1.0) for n in (1, 8)]
    results += [result("Mimi", "mimi_", n, 5.0 * n) for n in (1, 8)]
    comparison = Comparison("m", "cpu", 1, results, {("naive", 8): bench.TOO_SLOW})
    figures = comparison.flat()
    assert figures["mimi_ratio"] == figures["mimi_ratio_8"] == 5
    assert "naive, 8 streams: too slow" in comparison.notes
    assert math.isclose(figures["step_ms_8"]["p99"], 16)
    draw_steps(comparison, tmp_path / "steps.svg")
    assert "ms per stream" in (tmp_path / "steps.svg").read_text()
