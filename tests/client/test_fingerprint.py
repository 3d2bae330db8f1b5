"""Tests that a client trusts the certificate of a fingerprint, and no other."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys

import pytest

from xyt_stream.bench.load import Target, info
from xyt_stream.bench.load_clients import Access
from xyt_stream.client import connect
from xyt_stream.errors import CertificateError, ConnectionFailedError
from xyt_stream.server.admission.certificate import make_certificate
from xyt_stream.server.app import running

OTHER = ":".join(["A5"] * 32)  # of no certificate here; test ids must not vary between workers
PATIENCE = 120  # seconds


@pytest.fixture
async def server():
    made = make_certificate(["192.0.2.1"])  # reached by another name: the fingerprint is enough
    async with running(None, tls=made.tls) as running_server:
        yield running_server.url, made.fingerprint


@pytest.mark.parametrize("written", [str, str.lower, lambda text: text.replace(":", " ")])
async def test_the_printed_fingerprint_opens_a_session(server, written):
    url, fingerprint = server
    async with connect(url, "mic", room="a", send="codes", fingerprint=written(fingerprint)) as mic:
        await mic.end()
        assert [event async for event in mic]


async def test_another_certificate_is_refused_in_one_line(server):
    url, fingerprint = server
    with pytest.raises(CertificateError, match="is not the one of the fingerprint") as caught:
        async with connect(url, "loopback", fingerprint=OTHER):
            pass
    found = re.search(r"but ([0-9a-f]{64}):", str(caught.value))
    assert found is not None
    assert found[1] == fingerprint.replace(":", "").lower()


async def test_without_a_fingerprint_the_line_says_how_to_give_it(server):
    url, _ = server
    with pytest.raises(CertificateError, match="--fingerprint") as caught:
        async with connect(url, "loopback"):
            pass
    assert "\n" not in str(caught.value)


async def test_nothing_is_sent_to_a_server_with_another_certificate():
    chunks = []

    async def listen(reader, writer):
        chunks.append((await reader.read(1)).decode())
        writer.close()

    made = make_certificate(["localhost"])
    async with await asyncio.start_server(listen, "127.0.0.1", 0, ssl=made.tls) as server:
        url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for fingerprint in (OTHER, made.fingerprint):
            with pytest.raises(ConnectionFailedError):
                async with connect(url, "loopback", token="secret", fingerprint=fingerprint):
                    pass
        # The second client's request has come when its error has; an earlier one would have, too.
        assert "".join(chunks) == "G"


async def test_the_page_of_figures_is_read_from_that_server_only(server):
    url, fingerprint = server

    def read(trusted):
        return info(Target(url, access=Access(fingerprint=trusted)))

    assert (await asyncio.to_thread(read, fingerprint))["model"]["hash"]
    with pytest.raises(OSError, match="another certificate"):
        await asyncio.to_thread(read, OTHER)


@pytest.mark.parametrize(
    ("url", "fingerprint", "says"),
    [
        ("wss://127.0.0.1:1", "AB:CD", "no fingerprint"),
        ("wss://127.0.0.1:1", "", "no fingerprint"),
        ("wss://127.0.0.1:1", "0" * 63 + "g", "no fingerprint"),
        ("ws://127.0.0.1:1", OTHER, "is for wss://"),
    ],
)
def test_a_wrong_option_is_refused_at_once(url, fingerprint, says):
    for command in ("mic", "play", "loopback", "talk"):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "xyt_stream.cli",
                command,
                "--url",
                url,
                "--fingerprint",
                fingerprint,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 1
        assert says in done.stderr
        assert done.stderr.count("\n") == 1


async def test_the_wrong_one_of_ws_and_wss_is_named(server):
    url, _ = server
    with pytest.raises(ConnectionFailedError, match="try wss:// for ws://"):
        async with connect(url.replace("wss", "ws"), "loopback"):
            pass
    async with running(None) as plain:
        with pytest.raises(ConnectionFailedError, match="try ws:// for wss://"):
            async with connect(plain.url.replace("ws", "wss"), "loopback", fingerprint=OTHER):
                pass
