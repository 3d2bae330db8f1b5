"""The documents: the site builds without a warning and alone, and links lead to files."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from xyt_stream.cli.app import make_app

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/xyt-stream/xyt-stream"
RAW = REPOSITORY.replace("github.com", "raw.githubusercontent.com") + "/main/"

OFFLINE = """
import socket
def refuse(*_):
    raise SystemExit("the build asks another server")
socket.socket.connect = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli(["build", "--strict", "--site-dir", __import__("sys").argv[1]])
"""


def test_the_site_builds_without_a_warning_or_a_request(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text() for path in tmp_path.rglob("*.html")}
    assert len(pages) > 20
    assert "stream_encoder" in pages[tmp_path / "api" / "codec" / "index.html"]
    loads = re.compile(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="((?:https?:)?//[^"]*)"')
    outside = {
        address
        for text in pages.values()
        for address in loads.findall(text)
        if not address.startswith(RAW)
    }
    assert outside == set()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_to_files(name: str) -> None:
    text = (ROOT / name).read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if link != REPOSITORY]
    own = [link for link in links if link.startswith((REPOSITORY, RAW)) or "://" not in link]
    for link in own:
        path = link.removeprefix(f"{REPOSITORY}/blob/main/").removeprefix(RAW)
        assert (ROOT / path).exists(), link
    if name == "README.md":  # package indexes show it, and have no files beside it
        assert all("://" in link for link in links)


def test_every_place_names_the_same_repository() -> None:
    for name in ("pyproject.toml", "mkdocs.yml", "CITATION.cff", "README.md"):
        found = set(re.findall(r"https://github\.com/[\w.-]+/[\w.-]+", (ROOT / name).read_text()))
        assert REPOSITORY in {address.removesuffix(".git") for address in found}, name


def commands(group: Any) -> Iterator[str]:
    """Names of a group's commands; which class groups have depends on typer's version."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from (f"{name} {each}" for each in commands(command))
        else:
            yield name


def test_every_command_has_its_row() -> None:
    found = set(commands(typer.main.get_command(make_app([]))))
    assert {"serve", "bench attack"} <= found
    text = (ROOT / "docs" / "command-line.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z]+(?: [a-z]+)?)", row)}
    assert found <= named
