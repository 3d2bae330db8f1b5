"""The files in docs/deploy work with this package: the image's steps and the unit's command.

Most test environments have no container engine. So the Dockerfile is read and its steps are done
here: its files are copied and installed, its command and its health check are run.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from xyt_stream.cli.options import DEFAULT_PORT
from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
UNIT = DEPLOY / "xyt-stream.service"
PROGRAM = [sys.executable, "-m", "xyt_stream.cli"]


def instructions():
    """Yields (name, arguments) of each instruction of the Dockerfile."""
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text()))
    for line in filter(str.strip, text.splitlines()):
        name, _, rest = line.partition(" ")
        yield name, rest.strip()


def only(name):
    """Returns the arguments of the only instruction of this name."""
    (found,) = [rest for each, rest in instructions() if each == name]
    return found


def unit():
    """Returns the unit's settings: name -> values."""
    settings = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            settings.setdefault(name, []).append(value)
    return settings


@contextmanager
def started(command, **env):
    """Starts a server, yields its port and checks that SIGTERM ends it cleanly."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )
    try:
        line = process.stdout.readline()
        address = re.search(r"ws://[\d.]+:(\d+)", line)
        assert address, line + process.communicate()[1]
        yield int(address.group(1))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert {json.loads(line)["level"] for line in err.splitlines()} <= {"info"}, err
    finally:
        process.kill()
        process.communicate()


async def accepts(port, token):
    try:
        async with connect(f"ws://127.0.0.1:{port}", "encode", token=token):
            return True
    except ProtocolError as error:
        if error.name != "unauthorized":
            raise
        return False


def with_free_port(command):
    """Replaces the command's port, which must be the default and may be taken here."""
    if "--port" in command:
        place = command.index("--port") + 1
        assert command[place] == str(DEFAULT_PORT)
        return [*command[:place], "0", *command[place + 1 :]]
    return [*command, "--port", "0"]


def test_the_copied_files_are_enough_to_install(tmp_path):
    """Installed from the files that the Dockerfile copies, the package contains its model."""
    pytest.importorskip("setuptools", "77")
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    copied = [shlex.split(rest) for name, rest in instructions() if name == "COPY"]
    assert copied
    for *files, place in copied:
        for file in files:
            if (ROOT / file).is_dir():
                shutil.copytree(
                    ROOT / file, source / place, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(ROOT / file, source / place)
    (run,) = [rest for name, rest in instructions() if name == "RUN"]
    install = shlex.split(run.partition("&&")[0])
    assert install[:4] == ["python", "-m", "pip", "install"]
    subprocess.run(
        [sys.executable, *install[1:], "--no-deps", "--no-build-isolation", "--target", target],
        cwd=source,
        check=True,
        capture_output=True,
    )
    assert (target / "xyt_stream" / "assets" / "mini.safetensors").is_file()
    assert (target / "bin" / json.loads(only("ENTRYPOINT"))[0]).is_file()


async def test_the_image_serves_and_its_health_check_notices():
    program, *words = json.loads(only("ENTRYPOINT"))
    assert program == "xyt-stream"
    kind, health = re.fullmatch(r".*\b(CMD) (\[.*\])", only("HEALTHCHECK")).groups()
    assert kind == "CMD"
    _, *check = json.loads(health)
    assert only("EXPOSE") == str(DEFAULT_PORT)

    def healthy(port):
        assert f":{DEFAULT_PORT}/" in check[-1]
        code = check[-1].replace(str(DEFAULT_PORT), str(port))
        done = subprocess.run([sys.executable, *check[:-1], code], capture_output=True)
        return done.returncode == 0

    env = dict(word.split("=") for word in shlex.split(only("ENV")))
    with started([*PROGRAM, *with_free_port(words)], XYT_TOKEN="word", **env) as port:
        assert await asyncio.to_thread(healthy, port)
        assert await accepts(port, "word")
        assert not await accepts(port, "another")
    assert not healthy(port)


def test_the_image_refuses_to_start_without_a_token():
    env = {name: value for name, value in os.environ.items() if not name.startswith("XYT_TOKEN")}
    _, *words = json.loads(only("ENTRYPOINT"))
    done = subprocess.run(
        [*PROGRAM, *with_free_port(words)], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0
    assert "--token" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_image_does_not_run_as_root():
    assert only("USER").isdigit()
    assert f"--uid {only('USER')} " in dict(instructions())["RUN"]


def test_the_dockerfile_passes_its_linter():
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    linter = shutil.which("hadolint", path=places)
    if linter is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


async def test_the_unit_serves_with_its_tokens(tmp_path):
    """systemd's %d, the folder of credentials, is a temporary folder here."""
    (tmp_path / "tokens").write_text("speaks mic\nall\n")
    (command,) = unit()["ExecStart"]
    program, *words = shlex.split(command.replace("%d", str(tmp_path)))
    assert Path(program).name == "xyt-stream"
    assert unit()["LoadCredential"] == ["tokens:/etc/xyt-stream.tokens"]
    with started([*PROGRAM, *with_free_port(words)]) as port:
        assert await accepts(port, "all")
        assert not await accepts(port, "word")


def test_the_unit_waits_longer_than_the_server_drains():
    done = subprocess.run(
        [*PROGRAM, "serve", "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    (drain,) = re.findall(r"--drain-time.*\[default: ([\d.]+)\]", done.stdout)
    assert float(drain) < float(unit()["TimeoutStopSec"][0])


def test_systemd_accepts_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    (command,) = unit()["ExecStart"]
    copy = tmp_path / UNIT.name  # systemd checks that the program exists
    copy.write_text(UNIT.read_text().replace(shlex.split(command)[0], sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
