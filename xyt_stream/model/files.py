"""Reads weights and configs from files that may be hostile.

Weights are safetensors, files of `torch.save`, or shards with an index. A file is opened by its
content, whatever its name is. Nothing in it is run, and a file takes no more memory than it has
bytes, or twice that.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from xyt_stream.errors import ModelError
from xyt_stream.model.formats import container

# Keys of training's files under which the network's state may lie, in order of preference.
STATES = (
    *("generator", "state_dict", "model_state_dict", "model", "module", "network", "net"),
    *("codec_model", "codec", "xy_tokenizer"),
)
_MOST_TENSORS = 1 << 16
_DEEPEST = 4  # states within states
_LONGEST_CONFIG = 1 << 18  # bytes
_LONGEST_INDEX = 1 << 26  # bytes


class Contents(NamedTuple):
    """A safetensors file's header, and in which file each tensor lies."""

    header: dict[str, str]
    places: dict[str, Path]


def contents(path: Path) -> Contents:
    """List the tensors of a file of weights, or of an index's shards, without reading them.

    Raises:
        ModelError: the file is damaged, holds no weights, or could run code.
    """
    kind = container(path)
    header: dict[str, str] = {}
    if kind == "index":
        places = _shards(path)
    elif kind == "safetensors":
        with _opened(path) as file:
            header, places = file.metadata() or {}, dict.fromkeys(file.keys(), path)
    else:
        places = dict.fromkeys(_torch_state(path), path)
    if len(places) > _MOST_TENSORS:
        raise ModelError(f"{path} is refused: it holds {len(places)} tensors")
    return Contents(header, places)


def read(places: Mapping[str, Path]) -> dict[str, Tensor]:
    """Read tensors from the files in which they lie; they are finite, and as large as they look.

    Raises:
        ModelError: naming a tensor that is missing, damaged, or holds NaN or infinity.
    """
    tensors: dict[str, Tensor] = {}
    for path in dict.fromkeys(places.values()):
        if container(path) == "safetensors":
            with _opened(path) as file:
                state = {n: file.get_tensor(n) for n in file.keys() if places.get(n) == path}  # noqa: SIM118
        else:
            state = _torch_state(path)
        for name in [name for name, place in places.items() if place == path]:
            if name not in state:
                raise ModelError(f"{path} does not hold {name}, which its index says it does")
            tensors[name] = _plain(name, state[name], path)
    held = sum(path.stat().st_size for path in set(places.values()))
    if sum(t.numel() * t.element_size() for t in tensors.values()) > 2 * held:
        raise ModelError(f"{next(iter(places.values()))} is refused: it is larger than its bytes")
    return tensors


def read_config(path: Path) -> dict[str, Any]:
    """The fields of a YAML or JSON file.

    Raises:
        ModelError: it cannot be read, or has no fields.
    """
    values = _parsed(path, _LONGEST_CONFIG)
    if not isinstance(values, dict):
        raise ModelError(f"{path} is no config of a model")
    return values


def digest(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """The hex SHA-256 of a file; of shards, that of the tensors read from them.

    Shards may hold much else, such as a language model.
    """
    hashed = hashlib.sha256()
    if container(path) != "index":
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                hashed.update(block)
        return hashed.hexdigest()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        hashed.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        hashed.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be loaded: {_first_line(error)}") from error


def _torch_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that `torch.save` wrote, mapped where its format allows it."""
    kind = container(path)
    if kind is None:
        raise ModelError(
            f"{path} cannot be loaded: it is neither safetensors nor what torch.save writes"
        )
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                if any(member.compress_type for member in archive.infolist()):
                    raise ModelError(f"{path} is refused: torch does not compress what it saves")
        # torch trusts a path that ends so, and maps paths only.
        mapped = kind == "zip" and path.suffix != ".safetensors"
        with path.open("rb") as file:
            state = torch.load(
                path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped
            )
    except zipfile.BadZipFile as error:
        raise ModelError(f"{path} cannot be loaded: it is damaged, or was cut off") from error
    except (RuntimeError, OSError, EOFError) as error:
        raise ModelError(f"{path} cannot be loaded: {_first_line(error)}") from error
    except ModelError:
        raise
    except Exception as error:  # the unpickler has one for every kind of damage
        raise ModelError(
            f"{path} is refused: it is damaged, or holds more than tensors and could run code"
        ) from error
    for _ in range(_DEEPEST):
        if isinstance(state, dict):
            state = next((state[k] for k in STATES if isinstance(state.get(k), dict)), state)
    tensors = state.items() if isinstance(state, dict) else ()
    found = {k: v for k, v in tensors if isinstance(k, str) and isinstance(v, Tensor)}
    if not found:
        raise ModelError(f"{path} cannot be loaded: it is no state of a network")
    return found


def _plain(name: str, tensor: Tensor, path: Path) -> Tensor:
    """`tensor`, if it holds numbers that take the memory of its shape."""
    dense = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not dense or tensor.is_quantized or not tensor.is_floating_point():
        raise ModelError(f"{name} in {path} is not a tensor of floating-point numbers")
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise ModelError(f"{name} in {path} is refused: it is larger than its bytes")
    if tensor.element_size() == 1:  # aminmax has no 8-bit numbers
        tensor = tensor.float()
    if tensor.numel() and not all(end.isfinite() for end in tensor.aminmax()):
        raise ModelError(f"{name} in {path} holds NaN or infinity: these weights are damaged")
    return tensor.detach()


def _shards(index: Path) -> dict[str, Path]:
    """The file of the index's folder in which each tensor lies."""
    values = _parsed(index, _LONGEST_INDEX)
    names = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(names, dict) or not names:
        raise ModelError(f"{index} is no index of weights: it has no weight_map")
    for name in names.values():
        if not isinstance(name, str) or name != Path(name).name or name[:1] in ("", "."):
            raise ModelError(f"{index} names {name!r}, which is no file beside it")
    return {tensor: index.with_name(name) for tensor, name in names.items()}


def _parsed(path: Path, longest: int) -> Any:
    try:
        if not path.is_file() and path.exists():  # a device or a pipe may never end
            raise ModelError(f"{path} is refused: it is no regular file")
        with path.open("rb") as file:
            data = file.read(longest + 1)
        if len(data) > longest:
            raise ModelError(f"{path} is refused: it is longer than {longest} bytes")
        text = data.decode()
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except ModelError:
        raise
    except Exception as error:  # parsers have one for every kind of damage, and for depth
        raise ModelError(f"{path} cannot be read: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
