"""Translates published weights, in all their dialects, to this package's names and shapes.

docs/published.md lists the dialects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from xyt_stream.errors import ModelError

# The first that fits wins.
PREFIXES = (
    (r"(semantic|acoustic)_encoder\.(conv[12])\.", r"encoder.\1.\2."),
    (r"(semantic|acoustic)_encoder\.", r"encoder.\1.stack."),
    (r"semantic_encoder_adapter\.", "encoder.semantic_adapter."),
    (r"(pre_rvq_adapter|downsample)\.", r"encoder.\1."),
    (r"quantizer\.", "quantizer."),
    (r"(post_rvq_adapter|upsample)\.", r"decoder.\1."),
    (r"acoustic_decoder\.(deconv[12])\.", r"decoder.\1."),
    (r"acoustic_decoder\.", "decoder.stack."),
    (r"(?:enhanced_)?vocos\.backbone\.convnext\.", "decoder.vocoder.blocks."),
    (r"(?:enhanced_)?vocos\.backbone\.", "decoder.vocoder."),
    (r"(?:enhanced_)?vocos\.head\.", "decoder.vocoder.head."),
)
RENAMED = (
    (r"\.mlp\.(fc[12])\.", r".\1."),
    (r"\.(?:positional_embedding|embed_positions)(?:\.weight)?$", ".sinusoids"),
    (r"(\.quantizers\.\d+\.codebook)\.(?:weight|embed)$", r"\1"),
    (r"\.parametrizations\.weight\.original0$", ".weight_g"),
    (r"\.parametrizations\.weight\.original1$", ".weight_v"),
)
# Leftovers of training, and constants that are computed here.
UNUSED = re.compile(
    r"^feature_extractor\.|\.(inited|cluster_size|embed_avg|istft\.window|num_batches_tracked)$"
)
COMPILED = "_orig_mod."  # torch.compile's, anywhere in a name
PARTS = (
    *("semantic_encoder", "acoustic_encoder", "semantic_encoder_adapter", "pre_rvq_adapter"),
    *("downsample", "quantizer", "post_rvq_adapter", "upsample", "acoustic_decoder", "vocos"),
)
FEWEST_PARTS = 4  # that distinguish a codec from other networks
_PART = re.compile(rf"(?:(.*?)\.)?(?:enhanced_)?({'|'.join(PARTS)})\.")


def codec_names(names: Iterable[str]) -> dict[str, str]:
    """The tensors of the codec among `names`, and the name of each without its prefix.

    A codec may lie under any prefix ("generator.", "codec_model."), beside another network.
    Leftovers of training are left out. The result is empty if there is no codec.

    Raises:
        ModelError: there are several codecs.
    """
    plain = {name: name.replace(COMPILED, "") for name in names}
    parts: dict[str, set[str]] = {}
    for name in plain.values():
        if found := _PART.match(name):
            parts.setdefault(f"{found[1]}." if found[1] else "", set()).add(found[2])
    prefixes = sorted(prefix for prefix, its in parts.items() if len(its) >= FEWEST_PARTS)
    if len(prefixes) > 1:
        raise ModelError(f"the weights hold several codecs, under {', '.join(map(repr, prefixes))}")
    return {
        name: shorter.removeprefix(prefix)
        for prefix in prefixes
        for name, shorter in plain.items()
        if shorter.startswith(prefix) and not UNUSED.search(shorter.removeprefix(prefix))
    }


def translate_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensors under this package's names, in its shapes, as float32.

    Weight norm is folded, the three attention projections are joined, and convolutions whose
    stride is their kernel become the linear maps they are. Unknown names stay as they are, for the
    caller to complain about.

    Args:
        published: by their names in `codec_names`.

    Raises:
        ModelError: shapes contradict each other, or a codebook is missing.
    """
    tensors = {_rename(name): tensor.float() for name, tensor in published.items()}
    try:
        _reshape(tensors)
    except (RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"the shapes of the weights contradict each other: {reason}") from error
    return tensors


def _reshape(tensors: dict[str, Tensor]) -> None:
    for key in [k for k in tensors if k.endswith(".weight_v")]:
        base = key.removesuffix("_v")
        if f"{base}_g" in tensors:
            v, g = tensors.pop(key), tensors.pop(f"{base}_g")
            if v.ndim < 2 or g.shape != (len(v), *[1] * (v.ndim - 1)):  # torch would abort
                raise RuntimeError(f"{base}_g is {list(g.shape)}, and {key} {list(v.shape)}")
            tensors[base] = torch._weight_norm(v, g, 0)
    for key in ("quantizer.input_proj.weight", "quantizer.output_proj.weight"):
        if key in tensors and tensors[key].ndim == 3:  # a convolution of kernel 1
            tensors[key] = tensors[key].squeeze(-1)
    for key in [k for k in tensors if k.endswith(".self_attn.q_proj.weight")]:
        _join_attention(tensors, key.removesuffix("q_proj.weight"))
    for key in ("encoder.downsample.gate_proj.weight", "encoder.downsample.up_proj.weight"):
        if key in tensors and tensors[key].ndim == 3:  # [out, in, step] over step-major input
            tensors[key] = tensors[key].transpose(1, 2).flatten(1)
    key = "decoder.upsample.up_conv.weight"
    if key in tensors and tensors[key].ndim == 3:  # [in, out, step] to step-major output
        tensors[key] = tensors[key].permute(2, 1, 0).flatten(0, 1)
    _stack_codebooks(tensors)


def _stack_codebooks(tensors: dict[str, Tensor]) -> None:
    """The codebooks as one tensor, [codebooks, codebook_size, dim]."""
    pattern = re.compile(r"quantizer\.quantizers\.(\d{1,4})\.codebook")
    keys = {int(found[1]): key for key in tensors if (found := pattern.fullmatch(key))}
    for number in range(max(keys, default=-1) + 1):
        if number not in keys:
            raise ModelError(f"quantizer.quantizers.{number}.codebook is missing")
    if keys:
        tensors["quantizer.codebooks"] = torch.stack([tensors.pop(keys[n]) for n in sorted(keys)])


def _rename(key: str) -> str:
    for pattern, name in RENAMED:
        key = re.sub(pattern, name, key)
    for pattern, place in PREFIXES:
        renamed, found = re.subn("^" + pattern, place, key)
        if found:
            return renamed
    return key


def _join_attention(tensors: dict[str, Tensor], base: str) -> None:
    """q, k and v as one map; the published k has no bias, which is a bias of zero."""
    parts = [f"{base}{p}_proj" for p in "qkv"]
    if any(f"{part}.weight" not in tensors for part in parts):
        return
    weights = [tensors.pop(f"{part}.weight") for part in parts]
    zero = torch.zeros(weights[0].shape[0], dtype=torch.float32)
    tensors[f"{base}qkv.weight"] = torch.cat(weights)
    tensors[f"{base}qkv.bias"] = torch.cat([tensors.pop(f"{p}.bias", zero) for p in parts])
