"""The page's modules that need no browser, in node's own test runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = sorted(Path(__file__).parent.glob("*.test.mjs"))
OLDEST = 20  # of node: it has a test runner, and runs what browsers run


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("the page's modules are tested with node, which is not installed")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.strip().lstrip("v").split(".")[0]) < OLDEST:
        pytest.skip(f"node is {version.stdout.strip()}; {OLDEST} or later is needed")
    return found


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_modules(node: str, file: Path) -> None:
    run = subprocess.run([node, "--test", file], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
