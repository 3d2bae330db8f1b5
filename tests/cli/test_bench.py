from __future__ import annotations

import json
from pathlib import Path

from .outcome import Run, refused


def test_bench_lookahead_draws_and_writes(
    run: Run, fixtures: Path, tmp_path: Path, published_weights: Path
) -> None:
    path, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    arguments = ("bench", "lookahead", published_weights, fixtures / "speech.flac")
    options = ("--lookahead", 1, "--lookahead", 3, "--json", path, "--plot", picture)
    result = run(*arguments, *options)
    assert result.status == 0, result.err
    assert [point["lookahead"] for point in json.loads(path.read_text())["points"]] == [1, 3]
    assert picture.read_bytes().startswith(b"\x89PNG")
    refused(run(*arguments, "--lookahead", 375), "375")


def test_bench_precision_writes_its_figures(run: Run, fixtures: Path, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    result = run("bench", "precision", "mini", fixtures / "speech.flac", "--json", path)
    assert result.status == 0, result.err
    types = [point["dtype"] for point in json.loads(path.read_text())["points"]]
    assert types == ["float32", "bfloat16", "float16", "bfloat16 weights"]


def test_bench_stream_writes_its_figures(run: Run, tmp_path: Path) -> None:
    result = run("bench", "stream", "--minutes", "0.5", "--json", tmp_path / "bench.json")
    assert result.status == 0, result.err
    step = json.loads((tmp_path / "bench.json").read_text())["step_ms"]
    assert 0 < step["median"] <= step["p99"]
