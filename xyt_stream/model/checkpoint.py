"""Reading and writing weights: this package's files, and the published ones in all their shapes."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from xyt_stream.errors import ModelError
from xyt_stream.model.config import ModelConfig, published
from xyt_stream.model.hub import Source
from xyt_stream.model.precision import WEIGHTS, names
from xyt_stream.model.published import translate_config, translate_weights
from xyt_stream.model.quantizer import rename_codebooks
from xyt_stream.model.tokenizer import Tokenizer

CONFIG_KEY = "xyt_config"  # in the header of a safetensors file that `save` wrote
HASH_KEY = "xyt_hash"  # beside it in a file that `convert` wrote: the hash of the original
RELEASED_RATES = (16_000, 24_000, 32_000)  # Hz out
NAMED = 3  # wrong keys that an error spells out


class Checkpoint(NamedTuple):
    """A loaded network and the hex SHA-256 of the file its weights first came from."""

    network: Tokenizer
    hash: str


def save(
    network: Tokenizer, path: Path, dtype: torch.dtype = torch.float32, *, hash: str | None = None
) -> None:
    """Write `network` as one safetensors file with its config inside.

    Args:
        hash: what the model is to be known by; else its hash is that of the file.

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

    Its weights are a file that `save` wrote, or published ones as .safetensors, .ckpt or .bin.
    Published weights without a config are taken to be of the released sizes.

    Args:
        dtype: of weights and activations, one of WEIGHTS; see `Tokenizer.cast`.

    Raises:
        ModelError: naming the file and what does not fit; or no such precision.
    """
    if dtype not in WEIGHTS:
        raise ModelError(f"weights are {names(WEIGHTS)}, not {dtype}")
    weights = source.weights
    header, tensors = _read_weights(weights)
    if CONFIG_KEY in header:
        network = build(_own_config(header[CONFIG_KEY], weights))
    else:
        tensors = translate_weights(tensors)
        network = build(_published_config(source, tensors))
    fill(network, tensors, weights)
    network = network.to(device)
    network.cast(dtype)
    return Checkpoint(network, header.get(HASH_KEY) or _digest(weights))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def build(config: ModelConfig) -> Tokenizer:
    """A network whose weights take no memory or time until `fill` gives them."""
    with torch.device("meta"):
        return Tokenizer(config).eval().requires_grad_(False)


def fill(network: Tokenizer, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give `network` its weights; ModelError names what is missing, left over or misshapen."""
    wanted = network.state_dict()
    # Sinusoids can be computed, so some ports leave them out.
    tensors = {**{k: v for k, v in wanted.items() if k.endswith(".sinusoids")}, **tensors}
    rename_codebooks(tensors, "quantizer.")
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
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise ModelError(f"{path} does not fit its config: {'; '.join(wrong[:NAMED])}{more}")
    network.load_state_dict({k: v.float() for k, v in tensors.items()}, assign=True)
    network.quantizer.refresh()


def _read_weights(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The header, of a safetensors file, and the tensors."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return file.metadata() or {}, tensors
        mappable = zipfile.is_zipfile(path)  # the format before 2020 is not
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)
    except (SafetensorError, RuntimeError, OSError, EOFError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path} cannot be loaded: {reason}") from error
    except Exception as error:  # the unpickler has one for every kind of damage
        raise ModelError(
            f"{path} is refused: it is damaged, or holds more than tensors and could run code"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("generator"), dict):
        state = state["generator"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path} cannot be loaded: it is no state of a network")
    return {}, state


def _own_config(text: str, path: Path) -> ModelConfig:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be loaded: the config inside is no JSON") from error
    return ModelConfig.from_dict(values)


def _published_config(source: Source, tensors: Mapping[str, Tensor]) -> ModelConfig:
    if source.config is not None:
        return translate_config(_read_config(source.config), source.name)
    head = tensors.get("decoder.vocoder.head.out.bias")
    # The vocoder's windows, n_fft + 2 values for each, are four hops of 10 ms.
    rate = 0 if head is None else (len(head) - 2) * 100 // 4
    if rate not in RELEASED_RATES:
        raise ModelError(
            f"{source.weights} has no config inside and no .yaml or config.json beside it"
        )
    return published(source.name, rate)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ModelError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is no config of a model")
    return values
