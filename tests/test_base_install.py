"""The base install: protocol, client, edge and relay, without what the extra "torch" brings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import sys

blocked = {"torch", "safetensors", "silero_vad", "yaml", "huggingface_hub"}

class Gate:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Gate)
"""
LINE = (
    "Codecs in torch, and servers that encode and decode, need an extra: "
    "pip install 'xyt-stream[torch]'"
)


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_client_edge_protocol_and_relay_are_imported_without_torch() -> None:
    done = run(
        "import xyt_stream.client.run, xyt_stream.client.sound, xyt_stream.cli\n"
        "import xyt_stream.edge, xyt_stream.protocol.machine, xyt_stream.server.app\n"
        "assert 'torch' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def test_the_codec_names_its_extra() -> None:
    done = run("from xyt_stream import Codec\nCodec.load()")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == f"xyt_stream.errors.MissingExtraError: {LINE}"


@pytest.mark.parametrize(
    "command",
    [
        ("serve", "--port", "0"),
        ("info",),
        ("encode", "SPEECH", "OUT"),
        ("bench", "codec"),
    ],
)
def test_a_command_that_needs_torch_is_one_line(
    command: tuple[str, ...], fixtures: Path, tmp_path: Path
) -> None:
    files = {"SPEECH": fixtures / "speech.flac", "OUT": tmp_path / "out.xyt"}
    arguments = [files.get(each, each) for each in command]
    done = run("from xyt_stream.cli import main\nmain(sys.argv[1:])", *arguments)
    assert done.returncode == 1
    assert done.stderr.strip() == f"Error: {LINE}"
