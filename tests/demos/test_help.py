"""Every program of the demos says how it is used, without a server and without a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMOS = Path(__file__).parents[2] / "demos"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEMOS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["loopback.py", "minimal_client.py", "duplex_parrot.py"])
def test_help_is_given(name: str) -> None:
    done = run(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert name in done.stdout


def test_missing_arguments_are_answered_with_the_usage() -> None:
    done = run("minimal_client.py")
    assert (done.returncode, done.stderr) == (2, "")
    assert "minimal_client.py speech.wav out.wav" in done.stdout


def test_a_wrong_address_is_one_line(fixtures: Path, tmp_path: Path) -> None:
    sound, out = str(fixtures / "stereo44k.wav"), str(tmp_path / "out.wav")
    done = run("minimal_client.py", sound, out, "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
