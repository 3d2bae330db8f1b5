"""Reads and writes model.json, which describes an exported model, its graphs and its weights.

    format            1
    name, hash        of the model, as `Codec` has them
    input_rate, output_rate, frame_samples_in, frame_samples_out, num_codebooks, codebook_size
    weights           file, sha256: the safetensors file that both graphs point into
    encoder, decoder  graph (file, sha256), precision, delay, delay_samples, input, outputs, state

`input`, `outputs` and `state` are tensors: name, dtype and shape without the batch axis. A step
takes the input (codes may be of fewer codebooks, the first ones) and the state; it gives the
outputs and, named `X.next`, what goes into the state `X` next time. `first` is the number that a
fresh stream's tensor is filled with.

A folder is hostile until proved otherwise: sizes are bounded, types checked, and no name leads out
of the folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from xyt_stream.errors import ModelError

T = TypeVar("T", bound="TensorSpec")

MANIFEST = "model.json"
FORMAT = 1
FRAMES = "frames"  # the first of the state: how many frames the stream has had, int64
NEXT = ".next"  # behind the name of a state: its value after the step
DTYPES = ("float32", "int64")
BLOCK = 1 << 22  # bytes read at once
PRECISIONS = ("float32", "int8")
MOST_BYTES = 1 << 20  # of the manifest
MOST_STATES = 4096  # tensors of a step
MOST_ELEMENTS = 1 << 26  # of one tensor
MOST = 1 << 20  # of any other count


@dataclass(frozen=True)
class Stored:
    """A file in the folder and its hex SHA-256."""

    file: str
    sha256: str

    def __post_init__(self) -> None:
        _require(_is_plain(self.file), f"the file name {self.file!r}")
        _require(_is_hex(self.sha256), f"the hash of {self.file}")


@dataclass(frozen=True)
class TensorSpec:
    """Describes an input, an output or a state tensor of a step, without the batch axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        _require(_is_name(self.name), "the name of a tensor")
        _require(self.dtype in DTYPES, f"the type of {self.name}")
        _require(all(_is_count(size) for size in self.shape), f"the shape of {self.name}")
        _require(math.prod(self.shape) <= MOST_ELEMENTS, f"the size of {self.name}")


@dataclass(frozen=True)
class StateSpec(TensorSpec):
    """One tensor that a stream remembers, and the number that a fresh one is filled with."""

    first: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(type(self.first) is int and abs(self.first) <= MOST, f"the start of {self.name}")


@dataclass(frozen=True)
class StepSpec:
    """One of the two graphs.

    Args:
        precision: of its products: "float32" or "int8".
        delay: seconds, as `StreamEncoder` and `StreamDecoder` have it.
        delay_samples: how far, at the output rate, sound lags behind the frames given out.
    """

    graph: Stored
    precision: str
    delay: float
    delay_samples: int
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    state: tuple[StateSpec, ...]

    def __post_init__(self) -> None:
        _require(self.precision in PRECISIONS, "the precision")
        _require(type(self.delay) in (int, float) and 0 <= self.delay <= 60, "the delay")
        _require(type(self.delay_samples) is int and 0 <= self.delay_samples <= MOST, "the delay")
        _require(1 <= len(self.state) <= MOST_STATES, "the number of states")
        names = [self.input.name, *(each.name for each in self.state)]
        _require(len(set(names)) == len(names), "the names of states")
        _require(self.state[0] == StateSpec(FRAMES, "int64", ()), "the first of the state")
        sizes = sum(math.prod(each.shape) for each in self.state)
        _require(sizes <= MOST_ELEMENTS, "the size of the state")


@dataclass(frozen=True)
class Manifest:
    """All of model.json."""

    format: int
    name: str
    hash: str
    input_rate: int
    output_rate: int
    frame_samples_in: int
    frame_samples_out: int
    num_codebooks: int
    codebook_size: int
    weights: Stored
    encoder: StepSpec
    decoder: StepSpec

    def __post_init__(self) -> None:
        _require(type(self.format) is int, "the format")
        if self.format != FORMAT:
            raise ModelError(f"{MANIFEST} has format {self.format}; this version reads {FORMAT}")
        _require(_is_name(self.name), "the name")
        _require(_is_name(self.hash), "the hash")
        for field in dataclasses.fields(self):
            if field.type == "int":
                _require(_is_count(getattr(self, field.name)), field.name)
        _require(self.decoder.delay_samples <= self.frame_samples_out, "the decoder's delay")
        codes = TensorSpec("codes", "int64", (self.num_codebooks,))
        heard = TensorSpec("pcm", "float32", (self.frame_samples_in,))
        played = TensorSpec("pcm", "float32", (self.frame_samples_out,))
        rest = TensorSpec("rest", "float32", (self.decoder.delay_samples,))
        for spec, wanted in ((self.encoder, (heard, codes)), (self.decoder, (codes, played, rest))):
            _require((spec.input, *spec.outputs) == wanted, "the inputs and outputs")

    def write(self, folder: Path) -> None:
        """Put it into its folder."""
        text = json.dumps(dataclasses.asdict(self), indent=1)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        ModelError: there is none, or it is not what one must be.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ModelError(f"{path} is refused: it is larger than any manifest")
        values = json.loads(data)
    except OSError as error:
        raise ModelError(
            f"{folder} holds no exported model ({error.strerror}): "
            "make one with `xyt-stream export MODEL DIR`"
        ) from None
    except (ValueError, RecursionError):
        raise ModelError(f"{path} is refused: it is no JSON") from None
    try:
        return _manifest(values)
    except ModelError as error:
        raise ModelError(f"{path} is refused: {error}") from None
    except (TypeError, KeyError, AttributeError, OverflowError):
        raise ModelError(f"{path} is refused: fields are missing, unknown or mistyped") from None


def digest(path: Path) -> str:
    """The hex SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def file_in(folder: Path, stored: Stored) -> Path:
    """The path of a stored file.

    Raises:
        ModelError: it is not there, or a link leads out of the folder.
    """
    path = folder / stored.file
    if path.resolve().parent != folder.resolve():
        raise ModelError(f"{path} is refused: it leads out of its folder")
    if not path.is_file():
        raise ModelError(f"{folder} is no whole exported model: {stored.file} is missing")
    return path


def _manifest(values: dict[str, Any]) -> Manifest:
    return Manifest(
        **{
            **values,
            "weights": Stored(**values["weights"]),
            "encoder": _step(values["encoder"]),
            "decoder": _step(values["decoder"]),
        }
    )


def _step(values: dict[str, Any]) -> StepSpec:
    return StepSpec(
        **{
            **values,
            "graph": Stored(**values["graph"]),
            "input": _tensor(TensorSpec, values["input"]),
            "outputs": tuple(_tensor(TensorSpec, each) for each in values["outputs"]),
            "state": tuple(_tensor(StateSpec, each) for each in values["state"]),
        }
    )


def _tensor(kind: type[T], values: dict[str, Any]) -> T:
    return kind(**{**values, "shape": tuple(values["shape"])})


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ModelError(f"{what} cannot be right")


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= MOST


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 256 and value.isprintable()


def _is_plain(value: object) -> bool:
    return _is_name(value) and value not in (".", "..") and not set("/\\:") & set(str(value))


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
