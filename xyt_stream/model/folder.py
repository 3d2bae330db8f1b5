"""Chooses the file of a folder that holds a model's weights."""

from __future__ import annotations

import re
from pathlib import Path

from xyt_stream.errors import ModelError
from xyt_stream.model.files import contents
from xyt_stream.model.formats import CONFIG_KEY, INDEX, SUFFIXES, container
from xyt_stream.model.published import codec_names

# The first of these that holds a codec is it, whatever else lies beside it.
KNOWN = (
    *(r"model\.safetensors", r"model\.safetensors\.index\.json"),
    *(r"pytorch_model\.bin", r"pytorch_model\.bin\.index\.json", r".*\.ckpt"),
)
# What training leaves behind, shards (their index stands for them), and what is hidden.
NO_WEIGHTS = re.compile(
    r"\.|optimizer|scheduler|scaler|training_args|trainer_state|rng_state|random_states|"
    r".*-\d{5}-of-\d{5}\.",
    re.IGNORECASE,
)


def choose(folder: Path, named: str) -> Path:
    """The weights in `folder`, which the user called `named`.

    Names that are known go first, then files that hold a codec, then any that cannot be read: to
    say why is up to their reader.

    Raises:
        ModelError: there are none, or several.
    """
    held = {path: _holds_codec(path) for path in sorted(folder.iterdir()) if _may_be(path)}
    good = [path for path, holds in held.items() if holds]
    found = good or [path for path, holds in held.items() if holds is None]
    for pattern in KNOWN:
        if known := [path for path in found if re.fullmatch(pattern, path.name)]:
            found = known
            break
    if len({path.stem for path in found}) == 1:  # the same in several formats
        return min(found, key=lambda path: (*SUFFIXES, path.suffix).index(path.suffix))
    if found:
        raise ModelError(f"{named} holds several models ({_listed(found)}): give the path of one")
    others = f", but other tensors ({_listed(list(held))})" if held else ""
    raise ModelError(f"{named} holds no weights of a codec{others}")


def _may_be(path: Path) -> bool:
    if not path.is_file() or NO_WEIGHTS.match(path.name):
        return False
    named = path.suffix in SUFFIXES or path.name.endswith(INDEX)
    return named or (not path.suffix and container(path) is not None)


def _holds_codec(path: Path) -> bool | None:
    """Whether a file holds a codec; None if it cannot be read."""
    try:
        header, places = contents(path)
        return CONFIG_KEY in header or bool(codec_names(places))
    except ModelError:
        return None


def _listed(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)
