"""Third-party clients of the Realtime protocol talk with the parrot, unchanged, on real sockets.

`make test-clients` runs these, one at a time; the first run fetches gigabytes from PyPI and npm.
Each script under scripts/ and node/ uses one client as its own examples do: a context of text, two
spoken turns, an interruption, push to talk with a pause in the middle, a truncation, and an edit
of the history where the client has one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import environments

from xyt_stream.audio import Pcm16, resample, to_float32, to_int16

pytestmark = pytest.mark.clients

REPLIES = {"first turn": 1.5, "second turn": 1.5, "interruption": 1.5, "push to talk": 3.5}  # s
LONGEST = 600  # seconds of a script, on a busy machine


@pytest.fixture(scope="module")
def recording(clip: Pcm16, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of speech as the clients send it: 24 kHz, 16 bits, no header."""
    path = tmp_path_factory.mktemp("speech") / "speech.raw"
    path.write_bytes(to_int16(resample(to_float32(clip), 16_000, 24_000)).tobytes())
    return path


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """The URL of a server with the parrot, in a process of its own."""
    command = [sys.executable, "-m", "xyt_stream.cli", "serve", "--port", "0", "--max-load", "0"]
    command += ["--duplex", "xyt_stream.server.duplex.parrot:Parrot", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[-1] + "/v1"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return both


def check(command: list[str | Path], url: str, recording: Path, **settings: object) -> None:
    """Runs a script: it must hear every reply, and its client must speak of no error."""
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    surroundings |= {"XYT_URL": url, "XYT_SPEECH": str(recording), "HF_HUB_OFFLINE": "1"}
    surroundings |= {name: str(value) for name, value in settings.items() if name.isupper()}
    cwd = settings.get("cwd")
    run = subprocess.run(
        command,
        env=surroundings,
        cwd=cwd if isinstance(cwd, Path) else None,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    reports = [line for line in run.stdout.splitlines() if line.startswith('{"heard"')]
    assert reports, run.stdout + run.stderr
    report = json.loads(reports[-1])
    assert report["errors"] == [], run.stderr[-4000:]
    short = {step: report["heard"].get(step) for step, least in REPLIES.items()}
    short = {step: heard for step, heard in short.items() if (heard or 0) < REPLIES[step]}
    assert not short, f"seconds of replies: {report['heard']}"
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("environment", "script"),
    [
        ("openai", "openai_python.py"),
        ("openai-agents", "openai_agents.py"),
        ("pipecat-1.14", "pipecat_client.py"),
        ("pipecat-1.8", "pipecat_client.py"),
        ("livekit", "livekit_agents.py"),
        ("semantic-kernel", "semantic_kernel_client.py"),
    ],
)
def test_a_python_client(environment: str, script: str, url: str, recording: Path) -> None:
    scripts = Path(__file__).parent / "scripts"
    check([environments.python(environment), scripts / script], url, recording)


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node and npm")
@pytest.mark.parametrize("script", ["openai.mjs", "agents.mjs"])
def test_a_node_client(script: str, certificate: Path, recording: Path) -> None:
    folder = environments.node()
    with serving("--tls-cert", str(certificate)) as url:
        check(["node", script], url, recording, cwd=folder, NODE_EXTRA_CA_CERTS=certificate)
