"""The browser page's files, as the server gives them out."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import shutil
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from xyt_stream.server import page_codec

ROOT = Path(__file__).parents[2]
WEB = ROOT / "client" / "web"
LICENSE = WEB / "uqr-license.txt"  # of the one file that is not ours
KINDS = (".html", ".css", ".js", ".svg", ".flac")
SERVED = sorted(file for file in WEB.iterdir() if file.suffix in KINDS)

needs_runtime = pytest.mark.skipif(
    page_codec.page_codec().missing is not None,
    reason="the page's WebAssembly runtime is not there: `make web` fetches it, with npm",
)


async def get(server, target, encoding=None):
    """(status, headers, body) of a path, to the byte as it is given here."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    own = "" if encoding is None else f"Accept-Encoding: {encoding}\r\n"
    host = f"Host: {server.host}:{server.port}"
    writer.write(f"GET {target} HTTP/1.1\r\n{host}\r\n{own}\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 120)).partition(b"\r\n\r\n")
    writer.close()
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


async def test_a_browser_gets_the_page(server):
    for path in ("/", "/?mode=loopback"):
        status, headers, body = await get(server, path)
        assert (status, body) == (200, (WEB / "index.html").read_bytes())
        assert headers["content-type"] == "text/html; charset=utf-8"


async def test_every_file_has_its_type_and_the_least_rights(server):
    kinds = {
        "css": "text/css",
        "js": "text/javascript",
        "svg": "image/svg+xml",
        "flac": "audio/flac",
    }
    for file in SERVED:
        if file.name == "index.html":
            continue
        status, headers, body = await get(server, f"/{file.name}")
        assert (status, body) == (200, file.read_bytes())
        assert headers["content-type"].startswith(kinds[file.suffix[1:]])
        assert headers["x-content-type-options"] == "nosniff"
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy.pop("require-trusted-types-for") == "'script'"
        assert policy.pop("trusted-types") == "codec default"
        assert policy.pop("script-src") == "'self' 'wasm-unsafe-eval'"
        allowed = {"worker-src", "style-src", "img-src", "connect-src"}
        assert all(policy[name] == "'self'" for name in allowed)
        assert all(value == "'none'" for name, value in policy.items() if name not in allowed)
        assert {"default-src", "base-uri", "form-action", "frame-ancestors"} <= policy.keys()


async def listing(server):
    status, headers, body = await get(server, "/codec.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    return json.loads(body)


@needs_runtime
async def test_the_codec_s_files_come_in_pieces_that_never_change(server):
    listed = await listing(server)
    kinds = {"wasm": "application/wasm", "script": "text/javascript; charset=utf-8"}
    assert set(listed["files"]) == {"encoder", "decoder", "weights", "script", "wasm"}
    for role, file in listed["files"].items():
        pieces = []
        for number in range(-(-file["bytes"] // listed["piece"])):
            status, headers, body = await get(server, f"/{file['address']}?piece={number}")
            assert status == 200
            assert headers["content-type"] == kinds.get(role, "application/octet-stream")
            assert headers["cache-control"] == "public, max-age=31536000, immutable"
            assert "'wasm-unsafe-eval'" in headers["content-security-policy"]
            assert len(body) <= listed["piece"]
            pieces.append(body)
        whole = b"".join(pieces)
        assert (len(whole), sha256(whole).hexdigest()) == (file["bytes"], file["sha256"])
        assert file["sha256"][:16] in file["address"]


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP ; q=0.5", True),
        ("gzip;q=0.001", True),
        ("gzip;q=0, br", False),
        ("gzip;q=0.000", False),
        ("identity", False),
        ("", False),
        (None, False),
    ],
)
async def test_the_page_is_compressed_for_those_that_take_it(server, encoding, packed):
    for file in (WEB / "page.js", WEB / "style.css", WEB / "sample.flac"):
        status, headers, body = await get(server, f"/{file.name}", encoding)
        smaller = packed and file.suffix != ".flac"
        assert status == 200
        assert headers.get("content-encoding") == ("gzip" if smaller else None)
        assert headers["vary"] == "accept-encoding"
        assert int(headers["content-length"]) == len(body)
        assert (gzip.decompress(body) if smaller else body) == file.read_bytes()


@needs_runtime
async def test_the_runtime_is_compressed_piece_by_piece(server):
    listed = await listing(server)
    for role in ("wasm", "script", "weights"):
        file, sent, pieces = listed["files"][role], 0, []
        for number in range(-(-file["bytes"] // listed["piece"])):
            status, headers, body = await get(server, f"/{file['address']}?piece={number}", "gzip")
            assert status == 200
            assert headers["cache-control"] == "public, max-age=31536000, immutable"
            assert "'wasm-unsafe-eval'" in headers["content-security-policy"]
            assert headers.get("content-encoding") == (None if role == "weights" else "gzip")
            pieces.append(body if role == "weights" else gzip.decompress(body))
            sent += len(body)
        whole = b"".join(pieces)
        assert (len(whole), sha256(whole).hexdigest()) == (file["bytes"], file["sha256"])
        assert role == "weights" or sent < file["bytes"] / 2


async def test_a_server_without_the_runtime_says_how_to_get_it(server, monkeypatch):
    monkeypatch.setattr(page_codec, "RUNTIME", Path("/nonexistent"))
    page_codec.page_codec.cache_clear()
    try:
        listed = await listing(server)
    finally:
        monkeypatch.undo()
        page_codec.page_codec.cache_clear()
    assert "make web" in listed["missing"]
    assert listed["files"] == {}
    assert listed["server"]["codes"]


@needs_runtime
@pytest.mark.parametrize(
    "query",
    ["piece=1000", "piece=-1", "piece=", "piece=x", "piece=1&piece=2", "other=1", "piece=9%2e"],
)
async def test_no_other_piece_is_served(server, query):
    address = (await listing(server))["files"]["wasm"]["address"]
    assert (await get(server, f"/{address}?{query}"))[0] == 404


@pytest.mark.parametrize(
    "target",
    [
        "/../pyproject.toml",
        "/..%2fpyproject.toml",
        "/./index.html/../../server.py",
        "//etc/passwd",
        "/etc/passwd",
        "/package.json",
        "/runtime/runtime.json",
        "/vendor.mjs",
        "/codec/0000000000000000/mini.safetensors",
        "/codec/../codec.json/..",
        "/page.js/",
        "/page.js%00",
    ],
)
async def test_no_other_path_is_served(server, target):
    assert (await get(server, target))[0] == 404


def test_the_page_loads_nothing_foreign_or_inline():
    page = (WEB / "index.html").read_text()
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", page) == ["icon.svg", "style.css", "page.js"]
    assert not re.search(r"<style|<script(?![^>]* src=)|\sstyle=|\son\w+=", page)
    for file in SERVED:
        text = file.read_text(errors="ignore")
        addresses = set(re.findall(r"(?:https?|wss?)://[\w./]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://localhost."}, file.name


@pytest.mark.slow
def test_a_wheel_contains_the_page(tmp_path):
    """It is a link in a checkout; in a wheel the files themselves."""
    pytest.importorskip("setuptools", minversion="77", reason="a wheel needs setuptools")
    for folder in ("xyt_stream", "client"):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tmp_path)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, tmp_path], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if name.startswith("xyt_stream/web/")}
        runtime = {f"xyt_stream/web/runtime/{file.name}" for file in (WEB / "runtime").glob("*")}
        assert names == {f"xyt_stream/web/{file.name}" for file in [*SERVED, LICENSE]} | runtime
        for file in SERVED:
            assert wheel.read(f"xyt_stream/web/{file.name}") == file.read_bytes()
