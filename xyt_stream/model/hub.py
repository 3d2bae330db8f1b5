"""Where a model's files are: in the package, on disk, or on the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from xyt_stream.errors import ModelError

DEFAULT = "mini"
ASSETS = Path(__file__).parent.parent / "assets"
WEIGHTS = (".safetensors", ".ckpt", ".bin", ".pt", ".pth")  # the first that is there wins
CONFIGS = (".yaml", ".yml", ".json")
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


class Source(NamedTuple):
    """What to call a model, its weights file, and the config beside that where there is one."""

    name: str
    weights: Path
    config: Path | None


def find(
    model: str | Path | None, *, config: str | Path | None = None, revision: str | None = None
) -> Source:
    """Where `model` is.

    Args:
        model: None or "mini" for the default; a file; a folder; or a hub name ("owner/name"),
            downloaded unless the cache has it.
        config: the config's path, where it is not beside the weights.
        revision: a branch, tag or commit of a hub name.

    Raises:
        ModelError: nothing is there, or more than one thing could be meant.
    """
    if model is None or str(model) == DEFAULT:
        if config is not None or revision is not None:
            raise ModelError(f"{DEFAULT!r} is in the package: it takes no config and no revision")
        return Source(DEFAULT, ASSETS / f"{DEFAULT}.safetensors", None)
    path = Path(model)
    name = path.stem if path.is_file() else str(model)
    on_hub = not path.exists() and HUB_NAME.fullmatch(name) and path.suffix not in WEIGHTS
    if on_hub:
        path = _download(name, revision)
    elif revision is not None:
        raise ModelError(f"a revision is of a hub name, and {name!r} is none")
    if path.is_dir() and str(model):
        name = name if HUB_NAME.fullmatch(name) else path.resolve().name
        path = _only_weights(path, str(model))
    if not path.is_file():
        raise ModelError(
            f"there is no model {str(model)!r}: give a file, a folder, a hub name or {DEFAULT!r}"
        )
    if path.suffix not in WEIGHTS:
        raise ModelError(f"{path} is no model: the name of one ends in {', '.join(WEIGHTS)}")
    if config is not None and not Path(config).is_file():
        raise ModelError(f"there is no config {str(config)!r}")
    return Source(name, path, Path(config) if config is not None else _config_beside(path))


def _only_weights(folder: Path, named: str) -> Path:
    for suffix in WEIGHTS:
        files = sorted(folder.glob(f"*{suffix}"))
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise ModelError(f"{named} holds several weights ({names}): name one")
        if files:
            return files[0]
    raise ModelError(f"{named} holds no weights ({', '.join(WEIGHTS)})")


def _config_beside(weights: Path) -> Path | None:
    """The config of the same name, else config.*, else the only one in the folder."""
    for stem in (weights.stem, "config"):
        for suffix in CONFIGS:
            path = weights.with_name(stem + suffix)
            if path.is_file():
                return path
    others = [p for p in sorted(weights.parent.iterdir()) if p.suffix in CONFIGS[:2]]
    return others[0] if len(others) == 1 else None


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    patterns = [f"*{suffix}" for suffix in (*WEIGHTS, *CONFIGS)]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name} is not in the cache and the hub cannot be reached: go online once, "
            "or give a folder with the weights and their config"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{name} cannot be had from the hub: {reason}") from error
