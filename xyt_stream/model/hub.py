"""Finds a model's files: in the package, on disk, or on the hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from xyt_stream.errors import ModelError
from xyt_stream.model.formats import CONFIG_KEY, INDEX, SUFFIXES, container

DEFAULT = "mini"
ASSETS = Path(__file__).parent.parent / "assets"
CONFIGS = (".yaml", ".yml", ".json")
_LONGEST_HEADER = 1 << 24  # bytes
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


class Source(NamedTuple):
    """A model's name, its weights file, and the config beside that if there is one."""

    name: str
    weights: Path
    config: Path | None


def find(
    model: str | Path | None, *, config: str | Path | None = None, revision: str | None = None
) -> Source:
    """Find the files of `model`.

    Args:
        model: None or "mini" for the default; a file; a folder; or a hub name ("owner/name"),
            downloaded unless the cache has it.
        config: the config's path, where it is not beside the weights.
        revision: a branch, tag or commit of a hub name.

    Raises:
        ModelError: nothing is there, or more than one thing could be meant.
    """
    check(model, config=config, revision=revision)
    if model is None or str(model) == DEFAULT:
        return Source(DEFAULT, ASSETS / f"{DEFAULT}.safetensors", None)
    path = Path(model)
    name = path.stem if path.is_file() else str(model)
    if _on_hub(model):
        path = _download(name, revision)
    if path.is_dir():
        from xyt_stream.model.folder import choose  # it opens files, and so loads torch

        name = name if HUB_NAME.fullmatch(name) else path.resolve().name
        path = choose(path, str(model))
    return Source(name, path, Path(config) if config is not None else _config_beside(path))


def check(
    model: str | Path | None, *, config: str | Path | None = None, revision: str | None = None
) -> None:
    """Checks what can be known about `model` without a download and without torch.

    Args:
        model, config, revision: as for `find`.

    Raises:
        ModelError: nothing is there, or it is no model.
    """
    if model is None or str(model) == DEFAULT:
        if config is not None or revision is not None:
            raise ModelError(f"{DEFAULT!r} is in the package: it takes no config and no revision")
        return
    path = Path(model)
    if not _on_hub(model):
        if revision is not None:
            raise ModelError(f"a revision is of a hub name, and {str(model)!r} is none")
        if not str(model) or not path.exists():
            raise ModelError(
                f"there is no model {str(model)!r}: give a file, a folder, a hub name or "
                f"{DEFAULT!r}"
            )
        if path.is_file() and path.suffix not in SUFFIXES and container(path) is None:
            raise ModelError(
                f"{path} is no model: it holds neither safetensors nor what torch saves"
            )
    if config is not None and not Path(config).is_file():
        raise ModelError(f"there is no config {str(config)!r}")


def is_causal(model: str | Path | None) -> bool | None:
    """Whether a model is causal, by the config inside its file; None: it has none, or not there.

    The answer needs neither torch nor a valid file, so loading the model checks it again.
    """
    default = model is None or str(model) == DEFAULT
    path = ASSETS / f"{DEFAULT}.safetensors" if default else Path(str(model))
    if not path.is_file() or container(path) != "safetensors":
        return None
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > _LONGEST_HEADER:
            return None
        header = file.read(size)
    try:
        causal = json.loads(json.loads(header)["__metadata__"][CONFIG_KEY])["causal"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return causal if isinstance(causal, bool) else None


def _on_hub(model: str | Path) -> bool:
    path = Path(model)
    named = HUB_NAME.fullmatch(str(model)) is not None and path.suffix not in SUFFIXES
    return named and not path.exists()


def _config_beside(weights: Path) -> Path | None:
    """The config of the same name, else config.*, else the only .yaml in the folder."""
    for stem in (weights.stem, weights.name, f"{weights.stem}_config", "config"):
        for suffix in CONFIGS:
            path = weights.with_name(stem + suffix)
            if path.is_file() and path != weights:  # as an index of shards would be
                return path
    yamls = sorted(p for p in weights.parent.iterdir() if p.suffix in CONFIGS[:2])
    others = [path for path in yamls if not path.name.startswith(".")]
    return others[0] if len(others) == 1 else None


def _download(name: str, revision: str | None) -> Path:
    """The folder of a hub name in the cache, with its weights and config.

    Of shards that hold a codec and another model, those with the codec are downloaded.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    def download(revision: str | None, patterns: list[str]) -> Path:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))

    try:
        folder = download(revision, ["*config*.json", f"*{INDEX}", "*.yaml", "*.yml"])
        # Some releases are one file without a suffix, called as the repository.
        weights = _shards(folder) or [*(f"*{suffix}" for suffix in SUFFIXES), name.split("/")[1]]
        return download(folder.name, weights)
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name} is not in the cache and the hub cannot be reached: go online once, "
            "or give a folder with the weights and their config"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{name} cannot be had from the hub: {reason}") from error


def _shards(folder: Path) -> list[str]:
    """The shards of a folder's index that hold a codec; none without one."""
    from xyt_stream.model.files import contents
    from xyt_stream.model.published import codec_names

    for index in sorted(folder.glob(f"*{INDEX}")):
        places = contents(index).places
        if codec := codec_names(places):
            return sorted({places[tensor].name for tensor in codec})
    return []
