"""Published checkpoints in every dialect that is in use load as they are: the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from tests.model.published_dialects import (
    flat,
    folded,
    fused,
    language_model,
    prefixed,
    published_params,
    published_state,
    renamed,
    shard,
    sub_configs,
)
from xyt_stream.errors import ModelError
from xyt_stream.model import checkpoint, hub


@pytest.fixture(scope="module")
def original(fixtures):
    return checkpoint.load(hub.find(fixtures / "published" / "xy24k" / "weights.ckpt")).network


@pytest.fixture
def state(fixtures, original):
    """The fixture's tensors, positions that can be computed among them."""
    sinusoids = original.decoder.stack.sinusoids
    return {**published_state(fixtures), "acoustic_decoder.positional_embedding": sinusoids}


@pytest.fixture
def params(fixtures):
    return published_params(fixtures)


@pytest.fixture
def folder(fixtures, tmp_path):
    """A folder with the first release's config."""
    path = tmp_path / "voice"
    path.mkdir()
    shutil.copy(fixtures / "published" / "xy24k" / "config.yaml", path / "config.yaml")
    return path


def assert_same(path: Path, original, tolerance: float = 0.0) -> None:
    network = checkpoint.load(hub.find(path)).network
    assert msgspec.structs.replace(network.config, name="") == msgspec.structs.replace(
        original.config, name=""
    )
    loaded = network.state_dict()
    for name, tensor in original.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    "prefix",
    [
        *("xy_tokenizer.", "codec_model.", "model.", "module.", "generator.", "codec."),
        *("model.generator.", "module.codec_model.", "_orig_mod.", "generator._orig_mod."),
        "a.prefix.that.nobody.thought.of.",
    ],
)
def test_a_prefix_is_dropped(folder, state, original, prefix):
    torch.save({"generator": prefixed(state, prefix)}, folder / "weights.ckpt")
    assert_same(folder, original)


def test_other_networks_beside_the_codec_are_left_alone(folder, state, original):
    others = {f"discriminator.{n}": torch.full((3,), torch.nan) for n in range(5)}
    lightning = {"state_dict": {**prefixed(state, "generator."), **others}, "epoch": 3}
    torch.save(lightning, folder / "last.ckpt")
    assert_same(folder, original)


def test_a_compiled_part_is_the_same(folder, state, original):
    compiled = renamed(state, (r"^(quantizer|upsample)\.", r"\1._orig_mod."))
    torch.save(compiled, folder / "weights.ckpt")
    assert_same(folder, original)


@pytest.mark.parametrize(
    "nest",
    [
        lambda s: s,
        lambda s: {"generator": s},
        lambda s: {"state_dict": s},
        lambda s: {"model": s},
        lambda s: {"model_state_dict": s, "optimizer_state_dict": {"lr": 1.0}},
        lambda s: {"model": {"generator": s}, "steps": 7, "optimizer": {"state": {}}},
        lambda s: {**s, "epoch": 3, "best": None},
    ],
)
def test_a_nested_state_is_unwrapped(folder, state, original, nest):
    torch.save(nest(state), folder / "weights.ckpt")
    assert_same(folder, original)


@pytest.mark.parametrize(
    "pairs",
    [
        [(r"positional_embedding$", "positional_embedding.weight")],
        [(r"positional_embedding$", "embed_positions.weight")],
        [(r"\.(fc[12])\.", r".mlp.\1.")],
        [(r"^enhanced_vocos\.", "vocos.")],
        [
            (r"\.weight_g$", ".parametrizations.weight.original0"),
            (r"\.weight_v$", ".parametrizations.weight.original1"),
        ],
    ],
)
def test_names_of_other_ports_are_known(folder, state, original, pairs):
    other = renamed(state, *pairs)
    assert other.keys() != state.keys()
    torch.save(other, folder / "weights.ckpt")
    assert_same(folder, original)


def test_weight_norm_may_be_folded(folder, state, original):
    torch.save(folded(state), folder / "weights.ckpt")
    assert_same(folder, original)


@pytest.mark.parametrize(
    "name", ["voice.ckpt", "voice.bin", "voice.pt", "voice.pth", "MOSS_TTSD_tokenizer", "v0.7"]
)
@pytest.mark.parametrize("container", ["zip", "pickle", "safetensors"])
def test_a_file_is_opened_by_its_content(folder, state, original, name, container):
    path = folder / name
    if container == "safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=container == "zip")
    assert_same(path, original)
    if name != "v0.7":  # which has a suffix of its own
        assert_same(folder, original)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.bfloat16, 1e-2), (torch.float16, 1e-3), (torch.float64, 0.0)],
    ids=str,
)
def test_weights_of_other_precisions_become_float32(folder, state, original, dtype, tolerance):
    other = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    torch.save(other, folder / "weights.ckpt")
    assert_same(folder, original, tolerance)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_read_by_their_index(folder, state, original, suffix):
    shard(state, folder, suffix)
    assert_same(folder, original)


@pytest.mark.parametrize("dialect", ["sub-configs", "convolution", "flat"])
def test_a_config_of_transformers_is_understood(tmp_path, state, params, original, dialect):
    values = (
        flat(params)
        if dialect == "flat"
        else sub_configs(params, convolution=dialect == "convolution")
    )
    (tmp_path / "config.json").write_text(json.dumps(values))
    torch.save(folded(state), tmp_path / "pytorch_model.bin")
    assert_same(tmp_path, original)


@pytest.mark.parametrize("dialect", ["sections", "sub-configs", "flat"])
def test_of_a_fused_checkpoint_only_the_codec_is_read(tmp_path, state, params, original, dialect):
    codec = {
        "sections": {"params": params},
        "sub-configs": sub_configs(params, convolution=True),
        "flat": flat(params),
    }[dialect]
    (tmp_path / "config.json").write_text(json.dumps(fused(codec)))
    both = {**language_model(), **prefixed(state, "codec_model.")}
    places = shard(both, tmp_path, "safetensors", parts=len(both))  # one tensor in each
    for name in language_model():
        (tmp_path / places[name]).write_bytes(b"not what it was")
    assert_same(tmp_path, original)


def test_a_fused_checkpoint_may_be_one_file(tmp_path, state, params, original):
    (tmp_path / "config.json").write_text(json.dumps(fused(flat(params))))
    both = {**language_model(), **prefixed(state, "codec_model.")}
    save_file({k: v.contiguous() for k, v in both.items()}, tmp_path / "model.safetensors")
    assert_same(tmp_path, original)


def test_sizes_that_a_config_leaves_out_are_those_of_the_weights(tmp_path, state, params, original):
    values = sub_configs(params, convolution=True)
    for section, field in (
        ("quantizer_config", "num_quantizers"),
        ("vocos_config", "dim"),
        ("vocos_config", "hop_size"),
        ("semantic_encoder_config", "encoder_layers"),
    ):
        del values[section][field]
    del values["feature_extractor_config"], values["sampling_rate"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    torch.save(state, tmp_path / "model.bin")
    assert_same(tmp_path, original)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda v: v["semantic_encoder_config"].pop("encoder_attention_heads"), "attention_heads"),
        (lambda v: v["vocos_config"].update(padding="center"), "padding is center, not same"),
        (lambda v: v.update(input_sampling_rate=44_100), "is 44100, not 16000"),
        (lambda v: v["convolution_config"].update(upsample_stride=2), "stride is 2, not 4"),
        (lambda v: v["quantizer_config"].update(codebook_size=65), "codebook_size is 65 in the"),
        (lambda v: v["vocos_config"].update(num_layers=10**6), "blocks is 1000000 in the config"),
        (lambda v: v["semantic_encoder_config"].update(d_model=3 << 20), "width is 3145728 in"),
        (lambda v: v["feature_extractor_config"].update(feature_size=1 << 30), "mels is 1073741"),
        (lambda v: v["quantizer_config"].update(num_quantizers=1 << 34), "codebooks is 17179869"),
        (lambda v: v["vocos_config"].update(dim=[[1]]), "vocos.dim is no number"),
        (lambda v: v["vocos_config"].update(dim="wide"), "width is wide in the config"),
        (lambda v: v.update(vocos_config=7, sampling_rate=-1), "output_rate"),
        (lambda v: v["acoustic_decoder_config"].update(decoder_attention_heads=0), "heads"),
        (lambda v: v["acoustic_decoder_config"].update(decoder_attention_heads=7), "heads"),
    ],
)
def test_a_config_that_the_weights_contradict_is_refused(tmp_path, state, params, change, named):
    values = sub_configs(params, convolution=True)
    change(values)
    (tmp_path / "config.json").write_text(json.dumps(values))
    torch.save(state, tmp_path / "model.bin")
    with pytest.raises(ModelError, match=named):
        checkpoint.load(hub.find(tmp_path))


def test_two_codecs_in_one_file_are_refused_by_name(folder, state):
    torch.save({**prefixed(state, "ema."), **prefixed(state, "model.")}, folder / "a.ckpt")
    with pytest.raises(ModelError, match=r"several codecs, under 'ema\.', 'model\.'"):
        checkpoint.load(hub.find(folder / "a.ckpt"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop("quantizer.quantizers.3.codebook"), r"3\.codebook is missing"),
        (lambda s: s.pop("quantizer.input_proj.bias"), r"input_proj\.bias is missing"),
        (lambda s: s.update(third_tower=torch.zeros(1)), "third_tower is left over"),
        (lambda s: s.update({"quantizer.input_proj.bias": torch.zeros(3)}), r"is \[3\], not \[24"),
        (lambda s: s.update({"quantizer.quantizers.3.codebook": torch.zeros(3)}), "contradict"),
        (lambda s: s.update({"quantizer.input_proj.weight_g": torch.zeros(7)}), "contradict"),
        (
            lambda s: s.update(
                {"acoustic_decoder.layers.0.self_attn.q_proj.weight": torch.ones(())}
            ),
            "contradict",
        ),
    ],
)
def test_faults_of_weights_are_named(folder, state, change, named):
    change(state)
    torch.save(state, folder / "weights.ckpt")
    with pytest.raises(ModelError, match=named):
        checkpoint.load(hub.find(folder))
