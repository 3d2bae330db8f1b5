from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from xyt_stream import Codec
from xyt_stream.edge import EdgeDecoder, EdgeEncoder
from xyt_stream.edge.external import locations
from xyt_stream.edge.manifest import read
from xyt_stream.model import checkpoint, hub

pytest.importorskip("onnxscript", reason="needs the extra export")

import onnx

from xyt_stream.export.folder import write_step
from xyt_stream.export.steps import DecoderStep


@pytest.fixture(scope="module")
def int8(exported: Path, tiny_causal: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported folder with a decoder of eight bits."""
    folder = shutil.copytree(exported, tmp_path_factory.mktemp("int8") / "small")
    manifest = read(folder)
    step = DecoderStep(checkpoint.load(hub.find(tiny_causal)).network)
    spec = write_step(
        step,
        folder / "decoder.onnx",
        folder / manifest.weights.file,
        manifest.decoder.delay,
        manifest.decoder.delay_samples,
        int8=True,
    )
    dataclasses.replace(manifest, decoder=spec).write(folder)
    return folder


def test_the_sound_is_nearly_that_of_float32(exported: Path, int8: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 64, (3, 50))
    right, near = (EdgeDecoder(folder).push(codes) for folder in (exported, int8))
    noise = np.square(near - right).mean() / np.square(right).mean()
    assert 0 < noise < 1e-2


def test_products_are_of_integers_and_fourier_transforms_are_not(int8: Path) -> None:
    graph = onnx.load(int8 / "decoder.onnx", load_external_data=False).graph
    tables = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    floats = [tables.get(node.input[1]) for node in graph.node if node.op_type == "MatMul"]
    assert floats.count([481, 960]) == 2
    # The other products are those of attention, which have no weights.
    assert [size for size in floats if size not in (None, [481, 960])] == []
    assert sum(node.op_type == "MatMulInteger" for node in graph.node) > 10


def test_only_the_codebooks_are_read_from_the_weights(int8: Path) -> None:
    graph = onnx.load(int8 / "decoder.onnx", load_external_data=False).graph
    outside = [tensor.name for tensor in graph.initializer if tensor.external_data]
    assert outside == ["quantizer.codebooks"]
    assert locations((int8 / "decoder.onnx").read_bytes()) == {"small.safetensors"}


def test_the_manifest_names_the_precision_and_the_codes_stay(exported: Path, int8: Path) -> None:
    manifest = read(int8)
    assert (manifest.encoder.precision, manifest.decoder.precision) == ("float32", "int8")
    wav = np.random.default_rng(1).normal(0, 0.1, 12_800)
    assert np.array_equal(EdgeEncoder(exported).push(wav), EdgeEncoder(int8).push(wav))


@pytest.mark.parametrize("rows", [1, 3, 12])
def test_live_streams_of_an_export_in_eight_bits_are_decoded_so(
    exported: Path, int8: Path, rows: int
) -> None:
    codecs = [Codec.load(folder) for folder in (exported, int8)]
    right, near = (codec.stream_decoder(12) for codec in codecs)
    codes = torch.randint(64, (30, rows, 3))
    sounds = [
        torch.stack([decoder.step(frame, torch.ones(rows, dtype=torch.bool)) for frame in codes])
        for decoder in (right, near)
    ]
    noise = (sounds[0] - sounds[1])[1:].square().mean() / sounds[0][1:].square().mean()
    assert 0 < noise < 1e-2
    wav = torch.randn(12_800) / 10
    assert torch.equal(codecs[0].encode(wav), codecs[1].encode(wav))
    assert torch.equal(codecs[0].stream_encoder().push(wav), codecs[1].stream_encoder().push(wav))
