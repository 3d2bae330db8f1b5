from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xyt_stream import Codec
from xyt_stream.edge import EdgeDecoder, EdgeEncoder
from xyt_stream.edge.external import locations
from xyt_stream.edge.manifest import read
from xyt_stream.edge.streams import DEFAULT
from xyt_stream.errors import ModelError
from xyt_stream.export import export
from xyt_stream.model import hub

pytest.importorskip("onnxscript", reason="needs the extra export")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xyt_stream.cli", "export", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_folder_holds_graphs_weights_and_manifest(exported: Path, tiny_causal: Path) -> None:
    names = {"model.json", "encoder.onnx", "decoder.onnx", "small.safetensors"}
    assert {path.name for path in exported.iterdir()} == names
    values = json.loads((exported / "model.json").read_text())
    assert values["hash"] == values["weights"]["sha256"] == sha256(tiny_causal)
    assert values["encoder"]["state"][0]["name"] == "frames"
    assert values["output_rate"] == 24_000


def test_an_exported_folder_is_a_model_for_torch_too(exported: Path, tiny_causal: Path) -> None:
    assert Codec.load(exported).hash == Codec.load(tiny_causal).hash


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_the_weights_exist_once(exported: Path, half: str) -> None:
    import onnx

    graph = exported / f"{half}.onnx"
    assert locations(graph.read_bytes()) == {"small.safetensors"}
    header = (exported / "small.safetensors").stat().st_size
    model = onnx.load(graph, load_external_data=False)
    weights = [t for t in model.graph.initializer if t.external_data]
    inside = [t for t in model.graph.initializer if not t.external_data]
    assert len(weights) > 40
    for tensor in weights:
        entry = {each.key: each.value for each in tensor.external_data}
        assert int(entry["offset"]) + int(entry["length"]) <= header
    # What else there is are tables that no weight file has: mel filters, cosines.
    assert sum(len(t.raw_data) for t in inside) < 200_000
    assert not any(path in graph.read_bytes() for path in (b"/site-packages/", b".py"))


def test_the_default_graphs_are_of_the_default_weights(codec: Codec) -> None:
    manifest = read(DEFAULT)
    weights = hub.find(None).weights
    assert (manifest.name, manifest.hash) == (codec.name, codec.hash)
    assert weights == DEFAULT / manifest.weights.file
    assert manifest.weights.sha256 == sha256(weights), (
        "run: xyt-stream export mini xyt_stream/assets"
    )
    graphs = [manifest.encoder.graph, manifest.decoder.graph]
    for stored in graphs:
        assert sha256(DEFAULT / stored.file) == stored.sha256
        assert locations((DEFAULT / stored.file).read_bytes()) == {weights.name}
    assert sum((DEFAULT / stored.file).stat().st_size for stored in graphs) < 4_000_000


@pytest.mark.slow
def test_the_default_graphs_equal_an_export(tmp_path: Path, clip: np.ndarray) -> None:
    done = command("mini", tmp_path / "mini")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "mini"
    pcm = clip.astype(np.float32) / 32768
    codes = [EdgeEncoder(place).push(pcm) for place in (folder, DEFAULT)]
    assert np.array_equal(*codes)
    sounds = [EdgeDecoder(place).push(codes[0]) for place in (folder, DEFAULT)]
    assert np.abs(sounds[0] - sounds[1]).max() < 1e-5
    assert read(folder).encoder.state == read(DEFAULT).encoder.state
    assert read(folder).decoder.state == read(DEFAULT).decoder.state


def test_a_bidirectional_model_is_refused(published_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="causal"):
        export(hub.find(published_weights), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused(tiny_causal: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file", tmp_path / "no" / "such"):
        done = command(tiny_causal, place)
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr


def test_without_the_extra_one_line_names_it(tiny_causal: Path, tmp_path: Path) -> None:
    code = """
import sys
sys.modules["onnxscript"] = None
from xyt_stream.cli import main
main(["export", *sys.argv[1:]])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_causal), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert "pip install 'xyt-stream[export]'" in done.stderr


def test_a_copied_export_needs_nothing_else(exported: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(exported, tmp_path / "elsewhere")
    codes = EdgeEncoder(copy).push(np.zeros(1280 * 3, np.float32))
    assert EdgeDecoder(copy).push(codes).shape == (3 * 1920 - 360,)
