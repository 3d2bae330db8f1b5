"""The script of the CUDA figures, run on a CPU: everything but the graphs."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from xyt_stream.bench import cuda, cuda_server, harness
from xyt_stream.bench.cuda import NO_GPU, SMOKE, WRONG, Figures, full_size, main, run
from xyt_stream.bench.harness import BatchTimes
from xyt_stream.errors import ServeError
from xyt_stream.model.checkpoint import Checkpoint, build
from xyt_stream.streaming.codec import Codec


@pytest.fixture
def no_tests(monkeypatch, tmp_path):
    """As an installed package: this test is not to run the others."""
    monkeypatch.setattr(cuda, "TESTS", tmp_path / "none")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_line_and_no_file(capsys, tmp_path):
    assert main(["--json", str(tmp_path / "cuda.json")]) == NO_GPU
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_smoke_run_writes_figures_and_table(tmp_path, no_tests):
    figures, table = tmp_path / "cuda.json", tmp_path / "cuda.md"
    paths = ["--json", str(figures), "--table", str(table)]
    assert main(["--device", "cpu", "--smoke", *paths]) == 0
    found = json.loads(figures.read_text())
    assert "tests_passed" not in found
    assert 0 <= found["full_streams"] <= SMOKE.limit
    for key in ("full", "default"):
        assert found[f"{key}_eager_step_ms"]["median"] > 0
        assert found[f"{key}_eager_kernels"] is None
        assert found[f"{key}_weight_bytes"] > 0
        assert all(ms > 0 for ms in found[f"{key}_1_bounds_ms"])
        load = found[f"{key}_2_load"]
        assert (load["sessions"], load["frames"]) == (2, 26)
        assert load["turnaround_ms"]["p50"] > 0
        assert found[f"{key}_2_longest_ms"]
    lines = table.read_text().splitlines()
    assert lines[1] == "|---|---|---|"
    assert all(line.count("|") == 4 for line in lines)


@pytest.mark.parametrize(("passes", "status"), [(True, 0), (False, WRONG)])
def test_no_figures_after_a_failed_test(tmp_path, monkeypatch, passes, status):
    """The tests marked `device` run first, on the device that is measured."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--device')\n"
        "def pytest_configure(config):\n    config.addinivalue_line('markers', 'device')\n"
    )
    (tests / "test_it.py").write_text(
        "import pytest\n@pytest.mark.device\ndef test_it(request):\n"
        f"    assert {passes} and request.config.getoption('--device') == 'cpu'\n"
        "def test_other():\n    raise AssertionError\n"
    )
    monkeypatch.setattr(cuda, "TESTS", tests)
    monkeypatch.setattr(cuda, "SECONDS", -1.0)
    report = Figures()
    assert run(torch.device("cpu"), SMOKE, report, smoke=True) == status
    assert report.figures["tests_passed"] == passes
    assert ("bandwidth" in report.figures) == passes


def test_full_size_has_the_published_parameters_and_ten_seconds_of_context():
    config = full_size(smoke=False)
    assert (config.causal, config.context) == (True, 125)
    parameters = sum(p.numel() for p in build(config).parameters())
    assert 500e6 < parameters < 540e6


def test_figures_beyond_the_time_limit_are_left_out(monkeypatch, no_tests):
    monkeypatch.setattr(cuda, "SECONDS", -1.0)
    report = Figures()
    assert run(torch.device("cpu"), SMOKE, report, smoke=True) == 0
    assert "full_eager_step_ms" not in report.figures
    assert sum(row[0] == "left out, no time left" for row in report.rows) == 8


def test_a_server_that_does_not_start_is_named(monkeypatch, no_tests):
    def refused(*_, **__):
        raise ServeError("the server did not start")

    monkeypatch.setattr(cuda_server, "own_server", refused)
    report = Figures()
    cuda.real_clients(None, "default model", "default", torch.device("cpu"), SMOKE, report)
    assert report.rows == [
        ("default model, a server with 2 clients", "not served: the server did not start", "")
    ]


def test_out_of_memory_ends_the_search(codec, monkeypatch):
    seen: list[BatchTimes] = []
    assert harness.trial(codec, 2, seen, 2) == seen[0].in_time
    assert seen[0].streams == 2

    def full(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(harness, "Harness", full)
    assert not harness.trial(codec, 2, seen, 4)
    assert len(seen) == 1


def test_one_late_step_is_not_in_time():
    times = BatchTimes(1, {"median": 1.0, "p99": 70.0}, 79.0)
    assert times.in_time
    assert not dataclasses.replace(times, longest=81.0).in_time


def test_a_cast_network_computes_in_bfloat16(codec):
    config = codec.network.config
    network = build(config).to_empty(device="cpu")
    network.cast(torch.bfloat16)
    state = Codec(Checkpoint(network, "")).stream_encoder().stream.all
    assert {ring.dtype for ring in state.keys.values()} == {torch.bfloat16}
    assert network.quantizer.codebooks.dtype == torch.float32
    assert network.decoder.vocoder.head.out.weight.dtype == torch.float32
    assert network.encoder.acoustic.stack.phasors.dtype == torch.complex64
