"""The wheel and the sdist: built, installed into an empty environment, and run from there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[1]
PATIENCE = 180  # seconds


def call(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, and the wheel built from it, by suffix."""
    pytest.importorskip("build")
    source, out = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("dist")
    skipped = shutil.ignore_patterns(".*", "tests", "docs", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=skipped)
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source)
    return {path.suffix: path for path in out.iterdir()}


@pytest.fixture(scope="module")
def installed(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel, and with nothing of the checkout.

    The libraries that it needs are those of this environment, by a path.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", with_pip=False)
    commands = folder / "env" / "bin"
    python = commands / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    call(*pip, "install", "--quiet", "--no-index", "--no-deps", built[".whl"])
    libraries = sysconfig.get_path("purelib")
    own = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(own) / "libraries.pth").write_text(f"{libraries}\n")
    return commands


def clean() -> dict[str, str]:
    """The environment variables without the checkout's path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_the_sdist_holds_page_and_model(built: dict[str, Path]) -> None:
    with tarfile.open(built[".gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for file in ("web/index.html", "web/page.js", "assets/mini.safetensors", "assets/encoder.onnx"):
        assert f"xyt_stream/{file}" in names
    assert {"README.md", "LICENSE", "pyproject.toml"} <= names


def test_the_installed_wheel_sends_speech_through_a_server(installed: Path, tmp_path: Path) -> None:
    """Serves, runs a loopback and writes a sound file, as `make demo` does."""
    where = call(
        installed / "python",
        "-c",
        "import xyt_stream; print(xyt_stream.__file__)",
        cwd=tmp_path,
        env=clean(),
    )
    assert Path(where).is_relative_to(installed.parent)
    script = installed / "xyt-stream"
    assert re.fullmatch(r"xyt-stream \d+\.\d+\.\d+\n", call(script, "--version", env=clean()))
    command = [script, "serve", "--relay", "--port", "0", "--log-level", "warning"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=clean()
    ) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"ws://\S+", server.stdout.readline())
            assert address is not None
            clip = ROOT / "tests" / "fixtures" / "speech.flac"
            out = call(
                script,
                "loopback",
                "--url",
                address[0],
                "--input",
                clip,
                "--output",
                "out.wav",
                cwd=tmp_path,
                env=clean(),
                timeout=PATIENCE,
            )
            assert "codec" in out
        finally:
            server.terminate()
    sound, _ = soundfile.read(tmp_path / "out.wav")
    assert np.abs(sound).max() > 0.02
