"""Reads and writes this package's checkpoints, and reads the published ones."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from xyt_stream.errors import ModelError, printable
from xyt_stream.model.config import ModelConfig, published
from xyt_stream.model.files import contents, digest, read, read_config
from xyt_stream.model.formats import CONFIG_KEY
from xyt_stream.model.hub import Source
from xyt_stream.model.precision import WEIGHTS, names
from xyt_stream.model.published import codec_names, translate_weights
from xyt_stream.model.published_config import translate_config
from xyt_stream.model.quantizer import rename_codebooks
from xyt_stream.model.sizes import check_sizes, refuse, sizes
from xyt_stream.model.tokenizer import Tokenizer

HASH_KEY = "xyt_hash"  # in the header of a file that `convert` wrote: the hash of the original
LONGEST_NAME = 100  # characters
RELEASED_RATES = (16_000, 24_000, 32_000)  # Hz out


class Checkpoint(NamedTuple):
    """A loaded network and the hex SHA-256 of the file its weights first came from."""

    network: Tokenizer
    hash: str


def save(
    network: Tokenizer, path: Path, dtype: torch.dtype = torch.float32, *, hash: str | None = None
) -> None:
    """Write `network` as one safetensors file with its config inside.

    Args:
        hash: the model's hash, stored in the file; None: that of the file itself.

    Raises:
        ModelError: the file cannot be written.
    """
    tensors = {k: v.detach().to(dtype).contiguous() for k, v in network.state_dict().items()}
    header = {CONFIG_KEY: json.dumps(network.config.to_dict())}
    if hash:
        header[HASH_KEY] = hash
    # Replaced at once: the weights may be mapped from the very file they are written to.
    written = path.with_name(f".{path.name}.part")
    try:
        save_file(tensors, written, metadata=header)
        written.chmod(0o644)  # it comes as its owner's alone
        written.replace(path)
    except (SafetensorError, OSError) as error:
        written.unlink(missing_ok=True)
        raise ModelError(f"{path} cannot be written: {error}") from error


def convert(source: Source, path: Path) -> None:
    """Write any checkpoint as one safetensors file that is the same model by the same hash.

    Raises:
        ModelError: as `load`; or a `path` that is no .safetensors file or not writable.
    """
    if path.suffix != ".safetensors":
        raise ModelError(f"{path} must end in .safetensors")
    loaded = load(source)
    save(loaded.network, path, hash=loaded.hash)


def load(source: Source, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Checkpoint:
    """Read a checkpoint.

    Its weights are a file that `save` wrote, or published ones in any dialect (docs/published.md).
    Published weights without a config are taken to be of the released sizes.

    Args:
        dtype: of weights and activations, one of WEIGHTS; see `Tokenizer.cast`.

    Raises:
        ModelError: naming the file and what does not fit; or no such precision.
    """
    if dtype not in WEIGHTS:
        raise ModelError(f"weights are {names(WEIGHTS)}, not {dtype}")
    weights = source.weights
    header, places = contents(weights)
    own = CONFIG_KEY in header
    called = {name: name for name in places} if own else codec_names(places)
    if not called:
        raise ModelError(
            f"{weights} has no config inside, and its tensors have other names than a codec's"
        )
    held = read({name: places[name] for name in called})
    if own:
        tensors = dict(held)
        rename_codebooks(tensors, "quantizer.")
        config = _own_config(header[CONFIG_KEY], weights)
        check_sizes(config.to_dict(), sizes(tensors, weights), weights)
    else:
        tensors = translate_weights({called[name]: tensor for name, tensor in held.items()})
        config = _published_config(source, tensors)
    config = msgspec.structs.replace(config, name=printable(config.name, LONGEST_NAME))
    network = build(config)
    fill(network, tensors, weights)
    network = network.to(device)
    network.cast(dtype)
    hash = header.get(HASH_KEY, "")
    known = own and re.fullmatch("[0-9a-f]{64}", hash)
    return Checkpoint(network, hash if known else digest(weights, held))


def build(config: ModelConfig) -> Tokenizer:
    """A network on torch's meta device: its weights take no memory until `fill` gives them."""
    with torch.device("meta"):
        return Tokenizer(config).eval().requires_grad_(False)


def fill(network: Tokenizer, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give `network` its weights.

    Raises:
        ModelError: tensors are missing, left over or misshapen; it names them.
    """
    wanted = network.state_dict()
    # Sinusoids can be computed, so some ports leave them out.
    tensors = {**{k: v for k, v in wanted.items() if k.endswith(".sinusoids")}, **tensors}
    wrong = [
        *(f"{name} is missing" for name in wanted if name not in tensors),
        *(f"{name} is left over" for name in tensors if name not in wanted),
        *(
            f"{name} is {list(tensors[name].shape)}, not {list(value.shape)}"
            for name, value in wanted.items()
            if name in tensors and tensors[name].shape != value.shape
        ),
    ]
    if wrong:
        refuse(path, wrong)
    network.load_state_dict({k: v.float() for k, v in tensors.items()}, assign=True)
    network.quantizer.refresh()


def _own_config(text: str, path: Path) -> ModelConfig:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be loaded: the config inside is no JSON") from error
    return ModelConfig.from_dict(values)


def _published_config(source: Source, tensors: Mapping[str, Tensor]) -> ModelConfig:
    path = source.weights
    if source.config is not None:
        found = sizes(tensors, path)
        stated = translate_config(read_config(source.config), found, source.name)
        check_sizes(stated, found, path)
        return ModelConfig.from_dict(stated)
    head = tensors.get("decoder.vocoder.head.out.bias")
    # The vocoder's windows, n_fft + 2 values for each, are four hops of 10 ms.
    rate = 0 if head is None else (len(head) - 2) * 100 // 4
    if rate not in RELEASED_RATES:
        raise ModelError(
            f"{path} has no config inside, and beside it is no config.json and no single .yaml: "
            "name its config"
        )
    config = published(source.name, rate)
    check_sizes(config.to_dict(), sizes(tensors, path), path)
    return config
