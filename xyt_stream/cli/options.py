"""Defines the options that several commands share."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import stat
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from xyt_stream.errors import CertificateError, DeviceError, XYTError
from xyt_stream.model.formats import SUFFIXES
from xyt_stream.standard_streams import is_standard

DEFAULT_PORT = 8765
_NO_FIGURES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".xyt", ".onnx", *SUFFIXES}
TOKEN_VARIABLE = "XYT_TOKEN"  # of the environment


def check_source(path: Path) -> None:
    """Checks that a file can be read, before anything slow is imported for it.

    Raises:
        XYTError: it is missing, a folder, or not readable.
    """
    if is_standard(path):
        return
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise XYTError(f"cannot read {path}: {error.strerror}") from None


def check_url(url: str, fingerprint: str | None = None) -> None:
    """Checks the address of a server before a device is opened for it.

    Args:
        fingerprint: of the server's certificate, if one is given.

    Raises:
        XYTError: it is no address of a websocket.
        CertificateError: the fingerprint is none, or there is no certificate at that address.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        known = False
    if not known:
        raise XYTError(f"cannot reach a server at {url!r}: give an address like {_like(url)}")
    if fingerprint is not None:
        from xyt_stream.client.fingerprint import check_fingerprint  # it loads numpy

        check_fingerprint(fingerprint)
        if parts.scheme != "wss":
            raise CertificateError(f"--fingerprint is for wss://, and {url} has no certificate")


def _like(url: str) -> str:
    """The address of a websocket that may be meant: a page's, with the other scheme."""
    for page, websocket in (("http://", "ws://"), ("https://", "wss://")):
        if url.lower().startswith(page):
            return websocket + url[len(page) :].partition("/")[0]
    return f"ws://127.0.0.1:{DEFAULT_PORT}"


def check_device(device: str) -> str:
    """Checks the name of a compute device, and that the installed torch can use it at all.

    Whether it works is seen when the model is loaded.

    Raises:
        DeviceError: there is no such device.
    """
    kind = re.fullmatch(r"(cpu|cuda|mps|xpu)(:\d{1,3})?", device)
    if kind is None:
        raise DeviceError(f"there is no device {device!r}: try cpu, cuda or cuda:1")
    torch = importlib.util.find_spec("torch") if kind[1] == "cuda" else None
    if torch is not None and torch.origin is not None:
        built = Path(torch.origin).with_name("version.py")  # read, for an import takes seconds
        text = built.read_text() if built.is_file() else ""
        if re.search(r"^cuda\b.*= None$", text, re.M) and re.search(r"^hip\b.*= None$", text, re.M):
            raise DeviceError(
                f"the device {device!r} cannot be used: the installed torch is for CPUs only"
            )
    return device


def check_distinct(source: Path, target: Path) -> None:
    """Checks that a command does not overwrite its own input.

    Raises:
        XYTError: both names lead to the same file.
    """
    if target.is_file() and source.exists() and target.samefile(source):
        raise XYTError(f"cannot write {target}: it is the file that is read")


def ends_in(*suffixes: str, holding: str) -> Callable[[Path | None], Path | None]:
    """Makes a callback for a file to write, which must have one of these suffixes.

    Standard output ("-"), pipes and devices need none.
    """

    def check(path: Path | None) -> Path | None:
        in_a_folder(path)
        special = path is None or is_standard(path) or (path.exists() and not path.is_file())
        if not special and path is not None and path.suffix.lower() not in suffixes:
            raise XYTError(
                f"cannot write {path}: the name of a file of {holding} must end in "
                f"{' or '.join(suffixes)}"
            )
        return path

    return check


def in_a_folder(path: Path | None) -> Path | None:
    """Checks before the work begins that the folder of a file to write exists."""
    if path is not None and not path.parent.is_dir():
        raise XYTError(f"cannot write {path}: there is no such folder")
    return path


def for_figures(path: Path | None) -> Path | None:
    """Checks the name of a file of figures: it must not be that of sound, codes or weights."""
    if path is not None and path.suffix.lower() in _NO_FIGURES:
        raise XYTError(f"cannot write {path}: by its name it is no file of figures")
    return in_a_folder(path)


def _figures_alone(path: Path | None) -> Path | None:
    """As for_figures; where figures go to standard output, tables and other lines go to stderr."""
    from xyt_stream.cli.terminal import console  # it loads rich

    console.stderr = is_standard(path)
    return for_figures(path)


def not_empty(token: str | None) -> str | None:
    """Refuses an empty variable, which click takes for no variable: it may be a lost secret."""
    if token == "" or (token is None and os.environ.get(TOKEN_VARIABLE) == ""):
        raise XYTError(
            f"the token is empty: give one with --token or {TOKEN_VARIABLE}, or leave both out"
        )
    return token


MODEL_HELP = (
    "A hub name, a folder, or a .safetensors, .ckpt or .bin file; 'mini' is inside the package."
)
Model = Annotated[str | None, typer.Option(help=MODEL_HELP)]
ModelArgument = Annotated[str, typer.Argument(help=MODEL_HELP)]
WeightsTarget = Annotated[
    Path,
    typer.Argument(
        dir_okay=False,
        callback=ends_in(".safetensors", holding="weights"),
        help="The .safetensors file to write.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(help="The .yaml or config.json of published weights, if not beside them."),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub repository.")]
Device = Annotated[
    str,
    typer.Option(callback=check_device, help="Device of the model: cpu, cuda, cuda:1 ..."),
]
Lookahead = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Future frames (80 ms each) that each step of a live stream waits for. More give a "
        "bidirectional model better sound at a longer delay. Default: 0.",
    ),
]
Lookaheads = Annotated[
    list[int] | None,
    typer.Option(
        "--lookahead", min=0, help="Frames; may be repeated. Default: several values are measured."
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Process the whole file at once, not as a live stream.")
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        dir_okay=False,
        callback=_figures_alone,
        help="Also write the figures to this file; - for standard output.",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        callback=ends_in(".png", ".svg", ".pdf", holding="plots"),
        help="Draw the figures: a png, svg or pdf.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar=TOKEN_VARIABLE,
        callback=not_empty,
        help="Access token, if the server requires one.",
    ),
]
Fingerprint = Annotated[
    str | None,
    typer.Option(
        metavar="SHA256",
        help="The only certificate to trust, as `serve --https` prints its SHA-256; for wss://.",
    ),
]
RoomKey = Annotated[
    str | None,
    typer.Option(
        envvar="XYT_KEY",
        help="Key of an encrypted room, as `xyt-stream key` makes one: the server cannot hear it.",
    ),
]
Source = Annotated[
    Path,
    typer.Argument(help="The wav, flac, ogg or mp3 to read, at any rate; - for standard input."),
]


class CodecPlace(str, Enum):
    """The place where a client's sound is encoded and decoded."""

    auto = "auto"
    here = "here"
    server = "server"


class Weights(str, Enum):
    """Torch's names of the dtypes that a live model's weights may have."""

    float32 = "float32"
    bfloat16 = "bfloat16"


def live_lookahead(offline: bool, lookahead: int | None) -> int | None:
    """The lookahead of a live stream in frames; None: offline."""
    if offline and lookahead is not None:
        raise typer.BadParameter("--offline uses the whole file: leave --lookahead out")

    return None if offline else lookahead or 0


def one_thread() -> None:
    """Computes live steps in one thread, unless the environment says otherwise.

    A step is too short to share: on a busy machine, threads that wait for each other made a 6 s
    roundtrip take 172 s instead of 56.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
