"""The file of a folder that is chosen as a model's weights."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.model.published_dialects import (
    flat,
    fused,
    language_model,
    prefixed,
    published_params,
    published_state,
    shard,
)
from xyt_stream.errors import ModelError
from xyt_stream.model import checkpoint
from xyt_stream.model.hub import find


@pytest.fixture
def weights(fixtures):
    return fixtures / "published" / "xy24k" / "weights.ckpt"


@pytest.fixture
def voice(tmp_path):
    folder = tmp_path / "voice"
    folder.mkdir()
    return folder


def test_a_folder_is_called_by_its_name(voice, weights):
    shutil.copy(weights, voice / "xy_tokenizer.ckpt")
    assert find(voice) == ("voice", voice / "xy_tokenizer.ckpt", None)


def test_vectors_beside_the_weights_are_not_taken_for_them(fixtures):
    folder = fixtures / "published" / "xy16k"
    assert len(list(folder.glob("*.safetensors"))) == 2
    assert find(folder).weights == folder / "weights.ckpt"


@pytest.mark.parametrize("container", ["safetensors", "bin"])
def test_other_tensors_are_no_weights_whatever_they_are_called(voice, weights, container):
    other = {"input_0": torch.zeros(3), "latent": torch.ones(2)}
    shutil.copy(weights, voice / "z.pth")
    if container == "safetensors":
        save_file(other, voice / "model.safetensors")
    else:
        torch.save(other, voice / "pytorch_model.bin")
    assert find(voice).weights == voice / "z.pth"


def test_a_language_model_is_no_codec(voice, weights, fixtures):
    shard({**language_model(), "norm.weight": torch.ones(2)}, voice, "safetensors")
    shutil.copy(weights, voice / "xy_tokenizer.ckpt")
    assert find(voice).weights == voice / "xy_tokenizer.ckpt"


@pytest.mark.parametrize(
    "name",
    [
        *("optimizer.bin", "optimizer.pt", "training_args.bin", "scheduler.pt", "rng_state_0.pth"),
        *("._weights.ckpt", ".hidden.safetensors", "model-00001-of-00002.safetensors"),
    ],
)
def test_leftovers_and_hidden_files_are_never_taken(voice, weights, name):
    shutil.copy(weights, voice / name)
    with pytest.raises(ModelError, match="voice holds no weights of a codec"):
        find(voice)
    shutil.copy(weights, voice / "z.bin")
    assert find(voice).weights == voice / "z.bin"


@pytest.mark.parametrize("name", ["vectors.safetensors", "README", "notes.txt", "config.json"])
def test_a_folder_without_weights_is_refused(voice, name):
    if name.endswith("safetensors"):
        save_file({"input_0": torch.zeros(3)}, voice / name)
    else:
        (voice / name).write_text("{}")
    with pytest.raises(ModelError, match="voice holds no weights of a codec"):
        find(voice)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("model.safetensors", "pytorch_model.bin"),
        ("model.safetensors", "xy_tokenizer.ckpt"),
        ("pytorch_model.bin", "voice.pth"),
        ("xy_tokenizer.ckpt", "other.safetensors"),
        ("voice.safetensors", "voice.bin"),
        ("voice.bin", "voice"),
    ],
)
def test_names_that_are_known_go_first(voice, weights, first, second):
    for name in (first, second):
        shutil.copy(weights, voice / name)
    assert find(voice).weights == voice / first


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (("a.ckpt", "b.ckpt"), r"a\.ckpt, b\.ckpt"),
        (("a.safetensors", "b.bin"), r"a\.safetensors, b\.bin"),
        (("a.ckpt", "b.ckpt", "c.pth"), r"a\.ckpt, b\.ckpt"),
        (("a", "b.pt"), r"a, b\.pt"),
    ],
)
def test_several_models_are_refused_by_name(voice, weights, names, listed):
    for name in names:
        shutil.copy(weights, voice / name)
    with pytest.raises(ModelError, match=rf"several models \({listed}\): give the path of one"):
        find(voice)
    assert find(voice / names[0]).weights == voice / names[0]


def test_a_damaged_file_is_named_by_its_reader(voice, weights):
    (voice / "model.safetensors").write_bytes(weights.read_bytes()[:50_000])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be loaded: it is damaged"):
        checkpoint.load(find(voice))
    shutil.copy(weights, voice / "z.pth")
    assert find(voice).weights == voice / "z.pth"


def test_an_own_file_is_a_codec(voice, other_model):
    shutil.copy(other_model, voice / "mine.safetensors")
    save_file({"input_0": torch.zeros(3)}, voice / "vectors.safetensors")
    assert find(voice).weights == voice / "mine.safetensors"
    save_file(load_file(other_model), voice / "mine.safetensors")  # without its config
    with pytest.raises(ModelError, match="no weights of a codec, but other tensors"):
        find(voice)


def test_control_characters_in_a_files_name_do_not_reach_the_terminal(voice, weights):
    for name in ("a\x1b[2Jb.bin", "c\u202ed.bin"):
        shutil.copy(weights, voice / name)
    with pytest.raises(ModelError, match=r"a\\x1b\[2Jb\.bin, c\\u202ed\.bin"):
        find(voice)
    path = voice / "a\x1b[2Jb.bin"
    shutil.copy(weights.with_name("config.yaml"), voice / "config.yaml")
    assert checkpoint.load(find(path)).network.config.name == r"a\x1b[2Jb"


def test_of_a_fused_checkpoint_on_the_hub_only_the_codecs_shards_are_downloaded(
    tmp_path, fixtures, monkeypatch
):
    """The hub answers from a folder, with the files whose names fit what is asked for."""
    import huggingface_hub

    hub, cache = tmp_path / "hub", tmp_path / "0123abc"
    hub.mkdir()
    cache.mkdir()
    (hub / "config.json").write_text(json.dumps(fused(flat(published_params(fixtures)))))
    codec = prefixed(published_state(fixtures), "codec_model.")
    places = shard({**codec, **language_model()}, hub, "safetensors", parts=20)

    def download(name, *, revision, allow_patterns):
        assert name == "someone/fused"
        assert revision in ("main", cache.name)
        for path in hub.iterdir():
            if any(path.match(pattern) for pattern in allow_patterns):
                shutil.copy(path, cache / path.name)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = find("someone/fused", revision="main")
    assert found == ("someone/fused", cache / "model.safetensors.index.json", cache / "config.json")
    downloaded = {path.name for path in cache.glob("*.safetensors")}
    assert downloaded == {places[name] for name in codec}
    checkpoint.load(found)
