"""Files of weights and configs that are damaged or hostile."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.model.published_dialects import (
    prefixed,
    published_state,
    shard,
)
from xyt_stream.errors import ModelError
from xyt_stream.model import checkpoint
from xyt_stream.model.config import mini
from xyt_stream.model.files import contents, read_config
from xyt_stream.model.formats import CONFIG_KEY
from xyt_stream.model.hub import Source, find


@pytest.fixture
def folder(fixtures, tmp_path):
    path = tmp_path / "voice"
    path.mkdir()
    shutil.copy(fixtures / "published" / "xy24k" / "config.yaml", path / "config.yaml")
    return path


@pytest.fixture
def state(fixtures):
    return published_state(fixtures)


def load(path: Path) -> checkpoint.Checkpoint:
    return checkpoint.load(find(path))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_numbers_are_refused_by_name(folder, state, value, dtype):
    key = "quantizer.quantizers.5.codebook"
    state[key] = state[key].clone().to(dtype)
    state[key][3, 4] = value
    torch.save(prefixed(state, "codec_model."), folder / "weights.ckpt")
    with pytest.raises(
        ModelError, match=rf"codec_model\.{key} in .*weights\.ckpt holds NaN or inf"
    ):
        load(folder)


def test_leftovers_of_training_may_be_anything(folder, state):
    state["quantizer.quantizers.5.embed_avg"] = torch.full((64, 24), torch.nan)
    state["quantizer.quantizers.5.inited"] = torch.tensor([True])
    torch.save(state, folder / "weights.ckpt")
    load(folder)


def test_own_weights_that_are_not_numbers_are_refused(tmp_path, other_model):
    tensors = load_file(other_model)
    tensors["decoder.deconv1.bias"][0] = torch.nan
    header = {CONFIG_KEY: json.dumps(mini().to_dict())}
    save_file(tensors, tmp_path / "a.safetensors", header)
    with pytest.raises(ModelError, match=r"decoder\.deconv1\.bias in .* holds NaN"):
        load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "data", [b"", b"}" * 100, b"RIFF\0\0\0\0WAVE", b"PK\3\4" + b"\0" * 99, b"\x80\2", b"\x80\4}."]
)
def test_bytes_that_are_no_weights_are_refused(tmp_path, data):
    path = tmp_path / "a.ckpt"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"a\.ckpt (is refused|cannot be loaded)"):
        load(path)


@pytest.mark.parametrize("cut", [5, 9, 1000, 100_000])
@pytest.mark.parametrize("container", ["zip", "pickle", "safetensors"])
def test_a_file_that_is_cut_off_is_named(folder, state, container, cut):
    path = folder / "weights.ckpt"
    if container == "safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=container == "zip")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"weights\.ckpt (is refused|cannot be loaded)"):
        load(folder)


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("name", ["weights.ckpt", "weights.safetensors", "weights"])
@pytest.mark.parametrize("container", ["zip", "pickle"])
def test_a_hostile_pickle_runs_nothing(folder, state, name, container):
    trace = folder / "it-ran"
    state["boom"] = Hostile(trace)
    torch.save(state, folder / name, _use_new_zipfile_serialization=container == "zip")
    with pytest.raises(ModelError, match=r"weights\S* is refused"):
        load(folder / name)
    with pytest.raises(ModelError):
        load(folder)
    assert not trace.exists()


def test_a_plain_pickle_runs_nothing(folder):
    (folder / "weights.ckpt").write_bytes(pickle.dumps({"a": Hostile(folder / "it-ran")}, 2))
    with pytest.raises(ModelError, match="is refused"):
        load(folder)
    assert not (folder / "it-ran").exists()


def test_tensors_larger_than_their_bytes_are_refused(folder, state):
    """A pickle may say that one number fills a huge tensor."""
    state["semantic_encoder.conv1.weight"] = torch.zeros(1).expand(1 << 20, 1 << 20, 3)
    torch.save(state, folder / "weights.ckpt")
    with pytest.raises(ModelError, match=r"conv1\.weight in .* is larger than its bytes"):
        load(folder)


def test_many_tensors_over_the_same_bytes_are_refused(folder, state):
    block = torch.zeros(1 << 20)
    state |= {f"semantic_encoder.layers.{n}.fc1.weight": block for n in range(50)}
    torch.save(state, folder / "weights.ckpt")
    with pytest.raises(ModelError, match="larger than its bytes"):
        load(folder)


def test_a_compressed_archive_is_refused(folder, state):
    torch.save(state, folder / "a.zip")
    with (
        zipfile.ZipFile(folder / "a.zip") as plain,
        zipfile.ZipFile(folder / "weights.ckpt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.namelist():
            packed.writestr(member, plain.read(member))
    with pytest.raises(ModelError, match="torch does not compress"):
        load(folder / "weights.ckpt")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(48, dtype=torch.int64),
        torch.zeros(48, dtype=torch.complex64),
        torch.zeros(48).to_sparse(),
        torch.zeros(48, device="meta"),
    ],
    ids=["int", "complex", "sparse", "meta"],
)
def test_tensors_of_other_kinds_are_refused_by_name(folder, state, tensor):
    state["acoustic_encoder.conv1.bias"] = tensor
    torch.save(state, folder / "weights.ckpt")
    with pytest.raises(ModelError, match=r"weights\.ckpt|acoustic_encoder\.conv1\.bias"):
        load(folder)


def test_a_safetensors_header_that_promises_too_much_is_refused(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}})
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    with pytest.raises(ModelError, match=r"a\.safetensors cannot be loaded"):
        load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["semantic_encoder"].update(width=3 << 14), r"width is 49152 in the config"),
        (lambda c: c["semantic_encoder"].update(width=3 << 20), "semantic_encoder.width"),
        (lambda c: c["vocoder"].update(blocks=1000), "blocks is 1000 in the config and 6 in"),
        (lambda c: c.update(mels=1 << 30), "mels"),
        (lambda c: c["quantizer"].update(codebooks=1 << 34), "codebooks"),
        (lambda c: c.update(causal=False, context=4000), "context is 4000 in the config"),
        (lambda c: c.update(context=60_000), "context"),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused(tmp_path, other_model, change, message):
    config = mini().to_dict()
    change(config)
    save_file(
        load_file(other_model),
        tmp_path / "a.safetensors",
        {CONFIG_KEY: json.dumps(config)},
    )
    with pytest.raises(ModelError, match=message):
        load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", '{"a":' * 100_000 + "1" + "}" * 100_000),
        ("config.json", "[" * 100_000),
        ("config.yaml", "[" * 20_000),
        ("config.yaml", "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*a, *a]\n" for c in "bcdefgh")),
        ("config.yaml", "a: !!python/object/apply:os.system ['false']"),
        ("config.json", "9" * 10_000),
        ("config.json", '"text"'),
        ("config.json", ""),
        ("config.json", " " * (1 << 21)),
        ("config.json", "{}"),
        ("config.json", '{"params": 3, "codec_config": [], "vocos_kwargs": "x"}'),
        ("config.yaml", "\x00"),
    ],
    ids=range(12),
)
def test_a_config_that_is_none_is_refused_in_one_line(tmp_path, state, name, text):
    (tmp_path / name).write_text(text)
    torch.save(state, tmp_path / "weights.ckpt")
    with pytest.raises(ModelError) as refused:
        load(tmp_path)
    assert len(str(refused.value)) < 1_100
    assert str(refused.value).isprintable()


def test_a_config_that_grows_when_it_is_shown_is_refused(tmp_path, state):
    """Nine lists of ten times the one before: a thousand million if written out."""
    lines = ["a0: &a0 x"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    lines += ["vocos_kwargs: {padding: *a9}"]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    torch.save(state, tmp_path / "weights.ckpt")
    with pytest.raises(ModelError, match=r"vocos\.padding is no number"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(dict.fromkeys(m, "../a.safetensors")), "no file beside it"),
        (lambda m: m.update(dict.fromkeys(m, "/etc/passwd")), "no file beside it"),
        (lambda m: m.update(dict.fromkeys(m, "..")), "no file beside it"),
        (lambda m: m.update(dict.fromkeys(m, "")), "no file beside it"),
        (lambda m: m.update(dict.fromkeys(m, 3)), "no file beside it"),
        (lambda m: m.update(dict.fromkeys(m, "x" * 500)), "cannot be read"),
        (lambda m: m.update(dict.fromkeys(m, "none.safetensors")), r"none\.safetensors cannot be"),
        (lambda m: m.clear(), "no weight_map"),
        (lambda m: m.update({"upsample.extra": next(iter(m.values()))}), "does not hold upsample"),
        (lambda m: m.pop("upsample.up_conv.weight"), "up_conv.weight is missing"),
    ],
    ids=range(10),
)
def test_an_index_that_is_wrong_is_refused(folder, state, change, message):
    weight_map = shard(state, folder, "safetensors")
    change(weight_map)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelError, match=message):
        checkpoint.load(Source("voice", path, folder / "config.yaml"))


def test_a_shard_that_is_missing_is_named(folder, state):
    shard(state, folder, "safetensors")
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-00003\.safetensors cannot be read"):
        load(folder)


def test_names_from_a_file_are_shown_without_control_characters(folder, state):
    state["upsample.\x1b]0;owned\x07"] = torch.zeros(1)
    torch.save(state, folder / "weights.ckpt")
    with pytest.raises(ModelError, match=r"\\x1b\]0;owned\\x07 is left over"):
        load(folder)


def test_a_hash_and_a_name_in_a_header_are_checked(tmp_path, other_model):
    config = {**mini().to_dict(), "name": "a\x1b[31mb" + "c" * 1000}
    header = {CONFIG_KEY: json.dumps(config), checkpoint.HASH_KEY: "\x1b[2J"}
    save_file(load_file(other_model), tmp_path / "a.safetensors", header)
    loaded = load(tmp_path / "a.safetensors")
    assert loaded.network.config.name.startswith(r"a\x1b[31mb")
    assert len(loaded.network.config.name) <= 101
    assert len(loaded.hash) == 64


def test_more_tensors_than_any_network_has_are_refused(tmp_path):
    save_file({str(n): torch.zeros(0) for n in range((1 << 16) + 1)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="holds 65537 tensors"):
        load(tmp_path / "a.safetensors")


def test_the_hash_of_shards_is_that_of_the_codec_in_them(tmp_path, folder, state):
    hashes = []
    for parts, value in ((2, 0.0), (3, 1.0)):
        place = tmp_path / str(parts)
        shutil.copytree(folder, place)
        model = {"language_model.norm.weight": torch.full((3,), value)}
        shard({**prefixed(state, "codec_model."), **model}, place, "safetensors", parts)
        hashes.append(load(place).hash)
    state["upsample.up_conv.weight"] = state["upsample.up_conv.weight"] * 2
    shard({**prefixed(state, "codec_model."), **model}, place, "safetensors", parts)
    assert hashes[0] == hashes[1] != load(place).hash


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no such device here")
@pytest.mark.parametrize("name", ["config.json", "config.yaml"])
def test_a_config_that_never_ends_is_refused(tmp_path, state, name):
    (tmp_path / name).symlink_to("/dev/zero")
    torch.save(state, tmp_path / "weights.ckpt")
    with pytest.raises(ModelError, match=r"fit its config|no regular file"):
        load(tmp_path)
    with pytest.raises(ModelError, match="no regular file"):
        read_config(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "weights.ckpt")
    with pytest.raises(ModelError, match="is a pipe"):
        contents(tmp_path / "weights.ckpt")
