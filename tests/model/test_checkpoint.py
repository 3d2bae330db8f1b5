from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from xyt_stream.errors import ModelError
from xyt_stream.model import checkpoint
from xyt_stream.model.config import mini
from xyt_stream.model.formats import CONFIG_KEY
from xyt_stream.model.hub import Source
from xyt_stream.model.tokenizer import Tokenizer

META = {CONFIG_KEY: json.dumps(mini().to_dict())}


def load(path: Path) -> checkpoint.Checkpoint:
    return checkpoint.load(Source("test", path, None))


@pytest.fixture
def tensors(other_model: Path) -> dict[str, torch.Tensor]:
    return load_file(other_model)


def test_comes_back_as_it_was_saved(tmp_path):
    network = Tokenizer(mini())
    checkpoint.save(network, tmp_path / "a.safetensors")
    loaded = load(tmp_path / "a.safetensors")
    assert loaded.network.config == mini()
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value)


def test_file_with_the_old_name_of_the_codebooks_opens(tmp_path, tensors):
    codebooks = tensors.pop("quantizer.codebooks")
    save_file({**tensors, "quantizer.books": codebooks}, tmp_path / "a.safetensors", META)
    assert torch.equal(load(tmp_path / "a.safetensors").network.quantizer.codebooks, codebooks)


def test_two_models_have_two_hashes(tmp_path, other_model, codec):
    assert load(other_model).hash != codec.hash
    (tmp_path / "copy.safetensors").write_bytes(other_model.read_bytes())
    assert load(tmp_path / "copy.safetensors").hash == load(other_model).hash


def test_truncated_file_is_named(tmp_path, other_model):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(other_model.read_bytes()[:100_000])
    with pytest.raises(ModelError, match=r"cut\.safetensors"):
        load(path)


def test_missing_key_is_named(tmp_path, tensors):
    del tensors["encoder.semantic.conv1.weight"]
    save_file(tensors, tmp_path / "a.safetensors", META)
    with pytest.raises(ModelError, match=r"encoder\.semantic\.conv1\.weight is missing"):
        load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("config", ["{", "[" * 100_000, "[]", '{"name": "mini"}'])
def test_damaged_config_inside_is_refused(tmp_path, tensors, config):
    save_file(tensors, tmp_path / "a.safetensors", {CONFIG_KEY: config})
    with pytest.raises(ModelError, match="config"):
        load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["quantizer.codebooks", "decoder.vocoder.head.out.bias"])
def test_weights_that_are_no_numbers_are_refused(tmp_path, tensors, name, value):
    tensors[name].view(-1)[7] = value
    save_file(tensors, tmp_path / "a.safetensors", META)
    with pytest.raises(ModelError, match=f"{name} in .* holds NaN"):
        load(tmp_path / "a.safetensors")


def test_left_over_key_is_named(tmp_path, tensors):
    save_file({**tensors, "third_tower": torch.zeros(1)}, tmp_path / "a.safetensors", META)
    with pytest.raises(ModelError, match="third_tower is left over"):
        load(tmp_path / "a.safetensors")


def test_misshapen_tensor_is_named(tmp_path, tensors):
    tensors["quantizer.input_proj.bias"] = torch.zeros(3)
    save_file(tensors, tmp_path / "a.safetensors", META)
    with pytest.raises(ModelError, match=r"quantizer\.input_proj\.bias is \[3\], not \[48\]"):
        load(tmp_path / "a.safetensors")


def test_weights_without_config_are_refused(tmp_path, tensors):
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="no config"):
        load(tmp_path / "a.safetensors")


def test_a_file_can_be_converted_in_place(tmp_path, other_model):
    path = tmp_path / "a.safetensors"
    path.write_bytes(other_model.read_bytes())
    before = load(path)
    checkpoint.convert(Source("test", path, None), path)
    after = load(path)
    assert after.hash == before.hash
    for name, value in load(other_model).network.state_dict().items():
        assert torch.equal(after.network.state_dict()[name], value)
        assert torch.equal(before.network.state_dict()[name], value)  # its file has gone


def test_a_failed_write_leaves_no_file(tmp_path, other_model):
    source = Source("test", other_model, None)
    with pytest.raises(ModelError, match=r"a\.ckpt must end in \.safetensors"):
        checkpoint.convert(source, tmp_path / "a.ckpt")
    with pytest.raises(ModelError, match=r"a\.safetensors cannot be written"):
        checkpoint.convert(source, tmp_path / "nowhere" / "a.safetensors")
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(ModelError, match=r"a\.safetensors cannot be written"):
        checkpoint.convert(source, tmp_path / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_weights_may_be_halved(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    checkpoint.save(Tokenizer(mini()), path)
    source = Source("test", path, None)
    network, digest = checkpoint.load(source, dtype=torch.bfloat16)
    assert digest == load(path).hash
    assert network.decoder.stack.layers[0].fc1.weight.dtype == torch.bfloat16
    assert network.quantizer.codebooks.dtype == torch.float32
    with pytest.raises(ModelError, match=r"float32 or bfloat16, not torch\.float16"):
        checkpoint.load(source, dtype=torch.float16)
