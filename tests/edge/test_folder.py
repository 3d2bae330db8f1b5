"""Hostile and damaged folders are refused, each with one clear line."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xyt_stream.edge import EdgeDecoder, EdgeEncoder
from xyt_stream.edge.external import locations
from xyt_stream.edge.manifest import read
from xyt_stream.edge.streams import DEFAULT
from xyt_stream.errors import ModelError

Values = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the default model's folder."""
    manifest = read(DEFAULT)
    for stored in (manifest.weights, manifest.encoder.graph, manifest.decoder.graph):
        shutil.copyfile(DEFAULT / stored.file, tmp_path / stored.file)
    manifest.write(tmp_path)
    return tmp_path


def refused(folder: Path) -> str:
    """The one line that the folder is refused with."""
    with pytest.raises(ModelError) as caught:
        EdgeEncoder(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(folder: Path, edit: Callable[[Values], object]) -> None:
    values = json.loads((folder / "model.json").read_text())
    edit(values)
    (folder / "model.json").write_text(json.dumps(values))


def replace_in_graph(folder: Path, old: bytes, new: bytes) -> None:
    """Changes a graph as an attacker would: model.json is changed to match."""
    path = folder / "encoder.onnx"
    data = path.read_bytes()
    assert data.count(old)
    path.write_bytes(data.replace(old, new))
    change(folder, lambda values: values["encoder"]["graph"].update(sha256=sha256(path)))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_copied_folder_is_a_model(folder: Path) -> None:
    assert EdgeEncoder(folder).hash == EdgeDecoder(folder).hash == EdgeEncoder().hash


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path: Path) -> None:
    assert "xyt-stream export" in refused(tmp_path)
    assert "xyt-stream export" in refused(tmp_path / "nowhere")


EDITS: dict[str, Callable[[Values], object]] = {
    "a missing field": lambda v: v.pop("hash"),
    "an unknown field": lambda v: v.update(color="red"),
    "another format": lambda v: v.update(format=2),
    "a rate that is text": lambda v: v.update(input_rate="16000"),
    "a rate of zero": lambda v: v.update(output_rate=0),
    "a rate that is true": lambda v: v.update(input_rate=True),
    "a frame of a billion samples": lambda v: v.update(frame_samples_in=10**9),
    "a negative count": lambda v: v.update(num_codebooks=-8),
    "another number of codebooks": lambda v: v.update(num_codebooks=7),
    "another number of codebooks everywhere": lambda v: (
        v.update(num_codebooks=7),
        v["encoder"]["outputs"][0].update(shape=[7]),
        v["decoder"]["input"].update(shape=[7]),
    ),
    "another frame": lambda v: v.update(frame_samples_in=640),
    "another frame everywhere": lambda v: (
        v.update(frame_samples_in=640),
        v["encoder"]["input"].update(shape=[640]),
    ),
    "a delay that is not a number": lambda v: v["encoder"].update(delay=float("nan")),
    "an endless delay": lambda v: v["encoder"].update(delay=float("inf")),
    "a delay of samples that is not there": lambda v: v["decoder"].update(delay_samples=10**6),
    "a name with a line break": lambda v: v.update(name="a\nb"),
    "a name that is no text": lambda v: v.update(name=["mini"]),
    "no state": lambda v: v["encoder"].update(state=[]),
    "state that is no list": lambda v: v["encoder"].update(state={"a": 1}),
    "state without a counter": lambda v: v["encoder"]["state"].pop(0),
    "state in another order": lambda v: v["encoder"]["state"].reverse(),
    "a state less": lambda v: v["encoder"]["state"].pop(),
    "a state twice": lambda v: v["encoder"]["state"].append(v["encoder"]["state"][1]),
    "a huge state": lambda v: v["encoder"]["state"][1].update(shape=[2**20, 2**20]),
    "a state of no size": lambda v: v["encoder"]["state"][1].update(shape=[0, 1]),
    "a state of another size": lambda v: v["encoder"]["state"][1].update(shape=[241, 1]),
    "a state of another type": lambda v: v["encoder"]["state"][1].update(dtype="int64"),
    "a state of no type": lambda v: v["encoder"]["state"][1].update(dtype="object"),
    "weights that are no file": lambda v: v.update(weights=None),
    "a hash that is none": lambda v: v["weights"].update(sha256="?" * 64),
    "another hash": lambda v: v["weights"].update(sha256="0" * 64),
    "weights that are missing": lambda v: v["weights"].update(file="other.safetensors"),
    "weights above": lambda v: v["weights"].update(file="../mini.safetensors"),
    "weights anywhere": lambda v: v["weights"].update(file="/etc/passwd"),
    "weights that are the folder": lambda v: v["weights"].update(file="."),
    "weights below": lambda v: v["weights"].update(file="a\\b.safetensors"),
    "a graph above": lambda v: v["encoder"]["graph"].update(file="../encoder.onnx"),
    "a graph that is another": lambda v: v["encoder"].update(graph=v["decoder"]["graph"]),
    "a graph that is the weights": lambda v: v["encoder"].update(graph=v["weights"]),
    "more outputs": lambda v: v["encoder"]["outputs"].append(v["encoder"]["outputs"][0]),
    "no outputs": lambda v: v["encoder"].update(outputs=[]),
    "outputs that are text": lambda v: v["encoder"].update(outputs=["codes"]),
    "another input": lambda v: v["encoder"]["input"].update(name="sound"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_manifest_that_is_not_right_is_refused(folder: Path, name: str) -> None:
    change(folder, EDITS[name])
    refused(folder)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "[" * 100_000, "\xff\xfe", '{"format": 1}', " " * (2 << 20)],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "model.json").write_bytes(text.encode("latin-1"))
    refused(folder)


@pytest.mark.parametrize("file", ["mini.safetensors", "encoder.onnx"])
def test_files_of_another_export_are_refused(folder: Path, file: str) -> None:
    data = bytearray((folder / file).read_bytes())
    data[-100] ^= 1
    (folder / file).write_bytes(data)
    assert "export again" in refused(folder)
    (folder / file).unlink()
    assert f"{file} is missing" in refused(folder)


@pytest.mark.parametrize("place", ["../secret.weight", "/root/my.secrets", "other.safetensor"])
def test_data_from_another_file_is_refused(folder: Path, place: str) -> None:
    replace_in_graph(folder, b"mini.safetensors", place.encode())
    assert "reads" in refused(folder)


@pytest.mark.parametrize("file", ["mini.safetensors", "encoder.onnx"])
def test_links_out_of_the_folder_are_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, file: str
) -> None:
    outside = tmp_path_factory.mktemp("outside") / file
    shutil.move(folder / file, outside)
    (folder / file).symlink_to(outside)
    assert "leads out of its folder" in refused(folder)


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "text", "nested"])
def test_a_graph_that_is_none_is_refused(folder: Path, damage: str) -> None:
    path = folder / "encoder.onnx"
    data = path.read_bytes()
    nested = b""
    for _ in range(200):  # graph, node, attribute, graph ...
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            length = len(nested)
            size = bytes([length & 0x7F | 0x80, length >> 7]) if length > 127 else bytes([length])
            nested = tag + size + nested
    path.write_bytes(
        {
            "cut": data[: len(data) // 2],
            "noise": bytes(range(256)) * 100,
            "empty": b"",
            "text": b"no graph at all",
            "nested": nested,
        }[damage]
    )
    change(folder, lambda values: values["encoder"]["graph"].update(sha256=sha256(path)))
    refused(folder)


def test_every_place_a_graph_may_read_from_is_found() -> None:
    onnx = pytest.importorskip("onnx", reason="needs the extra export")
    helper = onnx.helper

    def tensor(location: str) -> Any:
        made = onnx.TensorProto(name=location, data_type=1, dims=[1])
        made.data_location = onnx.TensorProto.EXTERNAL
        made.external_data.add(key="offset", value="0")
        made.external_data.add(key="location", value=location)
        return made

    def graph(name: str, *nodes: Any, tensors: tuple[Any, ...] = ()) -> Any:
        return helper.make_graph(nodes, name, [], [], initializer=tensors)

    constant = helper.make_node("Constant", [], ["a"], value=tensor("in a node"))
    inner = graph("inner", constant, tensors=(tensor("in an inner graph"),))
    branch = helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner)
    listed = helper.make_node("Custom", [], ["e"], tensors=[tensor("in a list")])
    top = graph("top", branch, listed, tensors=(tensor("at the top"), tensor("../above")))
    sparse = top.sparse_initializer.add()
    sparse.values.CopyFrom(tensor("in sparse values"))
    sparse.indices.CopyFrom(tensor("in sparse indices"))
    model = helper.make_model(top)
    function = model.functions.add(name="f")
    function.node.add().CopyFrom(
        helper.make_node("Constant", [], ["b"], value=tensor("in a function"))
    )
    model.training_info.add().algorithm.CopyFrom(graph("t", tensors=(tensor("in training"),)))
    assert locations(model.SerializeToString()) == {
        *("at the top", "../above", "in a node", "in an inner graph", "in a list"),
        *("in sparse values", "in sparse indices", "in a function", "in training"),
    }
