"""Gives the page the files from which it runs the codec: model, graphs, weights and runtime.

Their addresses hold their SHA-256, so that browsers may keep them for good. Large files are given
out in pieces: what waits for a slow client stays small. The runtime's pieces were compressed when
it was built, to a quarter; the weights would become smaller by 8 %, and are given out as they are.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from xyt_stream.edge.manifest import MANIFEST, read
from xyt_stream.edge.streams import DEFAULT
from xyt_stream.errors import ModelError

PIECE = 1 << 19  # bytes
PREFIX = "/codec/"
LISTING = "/codec.json"
RUNTIME = Path(__file__).parents[1] / "web" / "runtime"  # `make web` fills it
_RUNTIME_LIST = "runtime.json"  # written by `make web`: file names and their SHA-256
NO_RUNTIME = (
    "The codec does not run in this page: its WebAssembly runtime is missing on the server. "
    "Install Node.js with npm there, run `make web`, and start the server again."
)

_KINDS = {
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}


@dataclass(frozen=True)
class Shipped:
    """A file that is given out in pieces.

    Attributes:
        path: on this machine.
        sha256: hexadecimal.
        size: bytes.
        packed: bytes of each piece as it is compressed in the file beside it, whose name ends in
            .gz; empty: there is none.
    """

    path: Path
    sha256: str
    size: int
    packed: tuple[int, ...] = ()

    @property
    def address(self) -> str:
        """Its path in the server's addresses."""
        return f"{PREFIX}{self.sha256[:16]}/{self.path.name}"

    @property
    def kind(self) -> str:
        """Its content type."""
        return _KINDS.get(self.path.suffix, "application/octet-stream")

    def piece(self, number: int) -> bytes:
        """Reads the bytes from `number` * PIECE on; blocks on the disk."""
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), PIECE, number * PIECE)

    def packed_piece(self, number: int) -> bytes | None:
        """Reads the same bytes, gzip; None: they are not kept so. Blocks on the disk."""
        if not self.packed:
            return None
        with self.path.with_name(f"{self.path.name}.gz").open("rb") as file:
            return os.pread(file.fileno(), self.packed[number], sum(self.packed[:number]))


@dataclass(frozen=True)
class PageCodec:
    """All that the page needs to run the codec.

    Attributes:
        model: the contents of model.json; None: the package holds no exported model.
        files: by role: "encoder", "decoder", "weights", "script", "wasm".
        missing: one sentence that says what is missing; None: nothing.
    """

    model: dict[str, Any] | None
    files: dict[str, Shipped]
    missing: str | None

    def listing(self, server_hash: str, *, server_codes: bool) -> bytes:
        """The page's first question, answered as JSON.

        Args:
            server_hash: of the server's model.
            server_codes: whether the server has a codec, too.
        """
        files = {
            role: {
                "address": file.address.removeprefix("/"),
                "bytes": file.size,
                "sha256": file.sha256,
            }
            for role, file in self.files.items()
        }
        answer = {
            "server": {"hash": server_hash, "codes": server_codes},
            "piece": PIECE,
            "missing": self.missing,
            "model": self.model,
            "files": files,
        }
        return json.dumps(answer).encode()

    def find(self, path: str, query: str) -> tuple[Shipped, int] | None:
        """The file at an address and the number of the piece asked for; None: there is none."""
        file = next((file for file in self.files.values() if file.address == path), None)
        name, _, number = (query or "piece=0").partition("=")
        if file is None or name != "piece" or not number.isascii() or not number.isdecimal():
            return None
        index = int(number[:10])
        return (file, index) if index * PIECE < file.size else None


@cache
def page_codec() -> PageCodec:
    """Finds the files; they are read when they are asked for."""
    try:
        manifest = read(DEFAULT)
    except ModelError as error:
        return PageCodec(None, {}, str(error))
    stored = {
        "encoder": manifest.encoder.graph,
        "decoder": manifest.decoder.graph,
        "weights": manifest.weights,
    }
    files = {role: _shipped(DEFAULT / file.file, file.sha256) for role, file in stored.items()}
    model = json.loads((DEFAULT / MANIFEST).read_bytes())
    try:
        runtime = json.loads((RUNTIME / _RUNTIME_LIST).read_bytes())
        for role in ("script", "wasm"):
            listed = runtime[role]
            packed = tuple(listed.get("packed", ())) if runtime.get("piece") == PIECE else ()
            files[role] = _shipped(RUNTIME / listed["file"], listed["sha256"], packed)
    except (OSError, ValueError, KeyError):  # it is not there, or not whole
        return PageCodec(model, {}, NO_RUNTIME)
    return PageCodec(model, files, None)


def _shipped(path: Path, sha256: str, packed: tuple[int, ...] = ()) -> Shipped:
    return Shipped(path, sha256, path.stat().st_size, packed)
