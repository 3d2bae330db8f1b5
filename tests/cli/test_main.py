from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from xyt_stream.cli import main
from xyt_stream.cli.groups import ModelOptions
from xyt_stream.server.admission.limits import Limits


def served(monkeypatch: pytest.MonkeyPatch, *options: str) -> Limits:
    """The limits that `serve` gives its server."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(ModelOptions, "load", lambda *_: None)
    monkeypatch.setattr("xyt_stream.server.app.serve", lambda _, **rest: given.update(rest))
    with pytest.raises(SystemExit) as ended:
        main(["serve", *options])
    assert ended.value.code == 0
    limits: Limits = given["limits"]
    return limits


def test_serve_has_an_option_for_every_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert served(monkeypatch) == Limits()
    changed = Limits(**{each.name: each.default + 1 for each in fields(Limits)})
    options = []
    for each in fields(Limits):
        name = each.metadata["option"] or f"--{each.name.replace('_', '-')}"
        options += [name, str(each.default + 1)]
    assert served(monkeypatch, *options) == changed


def test_a_limit_below_its_minimum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--queue", "0"])
    assert ended.value.code == 2


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\n"
        "from xyt_stream.cli import main\n"
        "try: main(['encode', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'numpy', 'soundfile'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)


def test_commands_work_in_a_shell(fixtures: Path, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("xyt-stream")

    def shell(*args: object) -> subprocess.CompletedProcess[str]:
        words = [str(script), *map(str, args)]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert shell("encode", fixtures / "speech.ogg", "a.xyt").returncode == 0
    assert (tmp_path / "a.xyt").exists()
    (tmp_path / "b.wav").write_text("words")
    bad = shell("encode", "b.wav", "b.xyt")
    line = "Error: b.wav is not a sound file, or damaged: give a wav, flac, ogg or mp3\n"
    assert (bad.returncode, bad.stdout, bad.stderr) == (1, "", line)
    assert shell("sing").returncode == 2
    assert re.fullmatch(r"xyt-stream \d+\.\d+\.\d+\n", shell("--version").stdout)


def test_undisplayable_file_names_are_escaped(fixtures: Path, tmp_path: Path) -> None:
    clip = tmp_path / "größe.flac"
    clip.write_bytes((fixtures / "speech.flac").read_bytes())

    def ascii_shell(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "xyt_stream.cli", *map(str, words)],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            text=True,
            check=False,
        )

    said = ascii_shell("encode", clip, tmp_path / "größe.xyt")
    assert (said.returncode, said.stderr) == (0, "")
    assert r"gr\xf6\xdfe.xyt: 2.05 s" in said.stdout
    said = ascii_shell("decode", tmp_path / "Größe.xyt", tmp_path / "a.wav")
    assert said.returncode == 1
    assert ".xyt: No such file" in said.stderr
