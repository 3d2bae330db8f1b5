from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import soundfile

from xyt_stream.cli import main
from xyt_stream.cli.groups import ModelOptions
from xyt_stream.server.admission.limits import Limits

from .outcome import Run, refused

ROOT = Path(__file__).parents[2]


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


SCRIPT = Path(sys.executable).with_name("xyt-stream")


def shell(*words: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Runs the installed script."""
    return subprocess.run([SCRIPT, *map(str, words)], capture_output=True, check=False, **options)


def test_commands_work_in_a_shell_that_knows_ascii_only(fixtures: Path, tmp_path: Path) -> None:
    clip = tmp_path / "größe.flac"
    clip.write_bytes((fixtures / "speech.flac").read_bytes())
    in_ascii = {"env": {**os.environ, "PYTHONIOENCODING": "ascii"}, "cwd": tmp_path}
    done = shell("encode", "größe.flac", "größe.xyt", **in_ascii)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"gr\xf6\xdfe.xyt: 2.05 s" in done.stdout
    failed = shell("decode", "Größe.xyt", "a.wav", **in_ascii)
    assert failed.returncode == 1
    assert b".xyt: No such file" in failed.stderr
    assert shell("sing").returncode == 2
    assert re.fullmatch(rb"xyt-stream \d+\.\d+\.\d+\n", shell("--version").stdout)


def test_dash_is_standard_input_and_output(fixtures: Path, tmp_path: Path) -> None:
    """encode - - | decode - -: sound through two pipes, and only status lines on stderr."""
    flac = (fixtures / "speech.flac").read_bytes()
    encoded = shell("encode", "-", "-", input=flac)
    assert encoded.returncode == 0
    assert b"2.05 s" in encoded.stderr
    decoded = shell("decode", "-", "-", input=encoded.stdout)
    assert decoded.returncode == 0
    assert b"16000 Hz" in decoded.stderr
    sound, rate = soundfile.read(io.BytesIO(decoded.stdout))
    assert (len(sound), rate) == (soundfile.info(fixtures / "speech.flac").frames, 16_000)
    assert shell("encode", fixtures / "speech.flac", tmp_path / "a.xyt").returncode == 0
    assert encoded.stdout == (tmp_path / "a.xyt").read_bytes()


def test_messages_call_a_dash_standard_input_or_output(fixtures: Path) -> None:
    flac = (fixtures / "speech.flac").read_bytes()
    encoded = shell("encode", "-", "-", input=flac)
    assert encoded.stderr.startswith(b"standard output: 2.05 s")
    assert shell("decode", "-", "-", input=encoded.stdout).stderr.startswith(b"standard output: ")
    assert b"standard input: this is not a .xyt" in shell("decode", "-", "-", input=flac).stderr
    assert b"standard input is an empty file" in shell("encode", "-", "-", input=b"").stderr


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "xyt_stream", "--version"], capture_output=True)
    assert (done.returncode, done.stdout) == (0, shell("--version").stdout)


INTERRUPT = """
import builtins, sys
name, *words = sys.argv[1:]
real = builtins.__import__

def interrupted(module, *rest, **named):
    if module == name:
        raise KeyboardInterrupt
    return real(module, *rest, **named)

import xyt_stream.cli
builtins.__import__ = interrupted
xyt_stream.cli.main(words)
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("xyt_stream.errors", ("info",)),
        ("io", ("info",)),
        ("os", ("info",)),
        ("xyt_stream.cli.app", ("info",)),
        ("typer", ("serve",)),
        ("xyt_stream.streaming.summary", ("info",)),
        ("xyt_stream.server.app", ("serve", "--port", "0")),
        ("xyt_stream.client.run", ("mic",)),
    ],
)
def test_ctrl_c_while_a_module_is_imported_ends_without_a_traceback(
    module: str, words: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT, module, *words], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() in ("", "Aborted!", "Aborted.")


def test_the_command_s_own_modules_import_next_to_nothing() -> None:
    """Until `main` runs, Ctrl-C prints a traceback."""
    code = (
        "import sys; before = set(sys.modules); import xyt_stream.cli\n"
        "print(*sorted(set(sys.modules) - before - {'__future__'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["xyt_stream", "xyt_stream.cli"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
def test_a_full_disk_behind_standard_output_is_one_line(fixtures: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = [SCRIPT, "encode", fixtures / "speech.flac", "-"]
        lost = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert lost.stderr == b"Error: cannot write standard output: No space left on device\n"


REFUSED = [
    ("roundtrip", "nothere.wav", "a.wav"),
    ("roundtrip", "text.wav", "a.wav"),
    ("roundtrip", "text.wav", "text.wav"),
    ("encode", "nothere.wav", "a.xyt"),
    ("encode", "text.wav", "a.wav"),
    ("decode", "nothere.xyt", "a.wav"),
    ("decode", "text.wav", "a.wav"),
    ("decode", "text.wav", "a.mp3", "--rate", "96000"),
    ("bench", "lookahead", "mini", "nothere.wav"),
    ("bench", "precision", "mini", "nothere.wav"),
    ("mic", "--input", "nothere.wav"),
    ("loopback", "--input", "text.wav", "--output", "a.wav"),
    ("serve", "--host", "0.0.0.0"),
    ("serve", "--host", "192.0.2.1", "--allow-anyone"),
    ("serve", "--token", ""),
    ("serve", "--token-file", "nothere"),
    ("serve", "--token-file", "text.wav"),
    ("serve", "--tls-cert", "nothere"),
    ("serve", "--tls-cert", "text.wav"),
    ("serve", "--tls-key", "text.wav"),
    ("serve", "--duplex", "nothere:Model"),
    ("serve", "--duplex", "nothere"),
    ("serve", "--proxy", "somewhere"),
    ("serve", "--origin", "somewhere"),
    ("serve", "--model", "nothere.safetensors"),
    ("info", "--model", "text.wav"),
    ("info", "--json", "text.wav"),
    ("eval", "mini", ".", "--csv", "text.wav"),
    ("info", "--config", "text.wav"),
    ("encode", "text.wav", "a.xyt", "--model", "nothere"),
    ("convert", "nothere.ckpt", "a.safetensors"),
    ("export", "nothere", "graphs"),
    ("eval", "nothere", "."),
    ("eval", "mini", "empty"),
    ("train", "--data", "empty", "--out", "trained"),
    ("train", "--data", ".", "--out", "trained", "--init", "nothere"),
    ("train", "--data", ".", "--out", "trained", "--steps", "2", "--minutes", "2"),
    ("train", "--data", ".", "--out", "trained", "--minutes", "0"),
    ("train", "--data", ".", "--out", "trained", "--minutes", "nan"),
    ("train", "--data", ".", "--out", "trained", "--rate", "0"),
    ("train", "--data", ".", "--out", "trained", "--rate", "nan"),
    ("talk", "--input", "nothere.wav"),
    ("mic", "--url", "nowhere"),
    ("mic", "--url", "ws://127.0.0.1:port", "--input", "text.wav"),
    ("play", "--output", "nothere/a.wav"),
    ("loopback", "--input", "text.wav", "--output", "a.mp4"),
    ("bench", "load", "--speech", "nothere.wav"),
    ("bench", "load", "--url", "nowhere"),
    ("bench", "soak", "--model", "nothere"),
    ("bench", "codec", "--streams", "many"),
    ("bench", "stream", "--model", "nothere"),
]
CHECK = """
import contextlib, io, json, sys
from xyt_stream.cli import main
for words in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            main(words)
            status = 0
        except SystemExit as done:
            status = done.code
    heavy = {"torch", "silero_vad", "transformers", "matplotlib"} & sys.modules.keys()
    if heavy or status not in (1, 2) or "Error" not in said.getvalue():
        sys.exit(f"{words}: status {status}, loads {heavy}, says {said.getvalue()}")
"""


def test_wrong_arguments_are_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("These are words.")
    (tmp_path / "empty").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        commands = [*REFUSED, ("serve", "--port", str(taken.getsockname()[1]))]
        done = subprocess.run(
            [sys.executable, "-c", CHECK, json.dumps(commands)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"text.wav", "empty"}


@pytest.mark.parametrize(
    ("variable", "command"),
    [
        ("XYT_TOKEN", ("serve", "--port", 0)),
        ("XYT_TOKEN", ("mic",)),
        ("XYT_TOKEN", ("bench", "load")),
        ("XYT_TOKENS", ("serve", "--port", 0)),
    ],
)
def test_empty_token_variables_are_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, command: tuple[object, ...]
) -> None:
    monkeypatch.setenv(variable, "")
    refused(run(*command), "token")


def test_closed_standard_streams_are_opened(tmp_path: Path) -> None:
    """Otherwise the next file that is opened takes the number of standard output."""
    for words, status in ((("decode", "nothere", "a.wav"), 1), (("--version",), 0)):
        command = f"exec {sys.executable} -m xyt_stream.cli {' '.join(words)} <&- >&- 2>&-"
        assert subprocess.run(["sh", "-c", command], cwd=tmp_path).returncode == status


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("serve --lookahead 1", "causal"),
        ("serve --device abacus", "no device 'abacus'"),
        ("serve --relay --lookahead 1", "--relay runs no model"),
        ("serve --relay --device cuda:1", "--relay runs no model"),
        ("encode demos/speech.flac a.xyt --lookahead 1", "causal"),
        ("roundtrip demos/speech.flac a.wav --lookahead 2", "causal"),
        ("info --lookahead 1", "causal"),
        ("eval mini demos --lookahead 1", "causal"),
        ("eval mini demos --device cuda:x", "no device 'cuda:x'"),
        ("train --data demos --out . --device abacus", "no device 'abacus'"),
        ("bench stream --lookahead 1", "causal"),
        ("bench codec --lookahead 1", "causal"),
        ("bench load --lookahead 1", "causal"),
        ("bench offline --device abacus", "no device 'abacus'"),
        ("mic --input demos/speech.flac --url http://127.0.0.1:9/x", "like ws://127.0.0.1:9"),
        ("play --output a.wav --url HTTPS://host:9/", "like wss://host:9"),
        (
            "mic --input demos/speech.flac --codec server --frames-a-message 2",
            "--frames-a-message needs the codec here",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_torch_is_imported(line, says):
    """Without torch: a command that imports it says that it is missing."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        f"from xyt_stream.cli import main; main({line.split()!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode
    assert says in done.stderr
    assert "Traceback" not in done.stderr
