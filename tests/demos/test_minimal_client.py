"""The client in one file, as a process of its own, against a real server."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from pathlib import Path

import numpy as np
import soundfile

from xyt_stream.server.admission.access import Access, Token
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

DEMO = Path(__file__).parents[2] / "demos" / "minimal_client.py"


async def run(*args, stdin=None):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, DEMO, *map(str, args)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(stdin), 120)
    return process.returncode, err.decode()


def same_sound(path, expected):
    sound, rate = soundfile.read(path, dtype="int16")
    assert rate == 16_000
    np.testing.assert_allclose(sound.astype(int), expected.astype(int), atol=1)


async def test_wav_file_comes_back_through_the_codec(server, clip, direct, tmp_path):
    soundfile.write(tmp_path / "in.wav", np.stack([clip, clip], axis=1), 16_000)
    status = await run(tmp_path / "in.wav", tmp_path / "out.wav", server.url)
    assert status == (0, "")
    same_sound(tmp_path / "out.wav", direct.sound)


async def test_raw_sound_comes_from_stdin(server, clip, direct, tmp_path):
    status = await run("-", tmp_path / "out.wav", server.url, stdin=clip.tobytes())
    assert status == (0, "")
    same_sound(tmp_path / "out.wav", direct.sound)


async def test_refusal_is_one_line(codec, clip, tmp_path):
    soundfile.write(tmp_path / "in.wav", clip, 16_000)
    access = Access([Token("secret")])
    async with running(codec, max_sessions=1, access=access, limits=Limits(load=0)) as server:
        status, err = await run(tmp_path / "in.wav", tmp_path / "out.wav", server.url)
    assert status == 1
    assert err.startswith("Error: ")
    assert "token" in err
    assert err.count("\n") == 1
    status, err = await run(tmp_path / "in.wav", tmp_path / "out.wav", server.url)
    assert status == 1
    assert err.startswith("Error: ")
    assert err.count("\n") == 1


async def test_a_file_that_is_no_wav_is_refused_by_name(tmp_path):
    for content in (b"", b"words", b"RIFFxxxxWAVEfmt "):
        (tmp_path / "in.wav").write_bytes(content)
        status, err = await run(tmp_path / "in.wav", tmp_path / "out.wav", "ws://127.0.0.1:9")
        assert (status, err) == (1, f"Error: {tmp_path / 'in.wav'} must be a 16-bit WAV file\n")


def test_script_header_names_all_imports():
    text = DEMO.read_text()
    names = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    listed = re.search(r"^# dependencies = \[(.*)\]$", text, re.M)[1]
    dependencies = {re.match(r"\w+", item)[0] for item in re.findall(r'"(.*?)"', listed)}
    assert names - sys.stdlib_module_names == dependencies
