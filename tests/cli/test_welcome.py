"""The lines that `serve` prints once it accepts connections, in a terminal and without one."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import ssl
import subprocess
import sys
import urllib.request
from urllib.error import HTTPError

import pytest

from xyt_stream.cli.welcome import page_addresses, qr_code

from ..terminal import PATIENCE, in_terminal

SERVE = (sys.executable, "-m", "xyt_stream.cli", "serve", "--relay", "--port", "0")


def test_a_terminal_shows_the_page_and_how_to_stop() -> None:
    with in_terminal(*SERVE) as terminal:
        text = terminal.read_until("Ctrl-C stops.")
        page = re.search(r"on this computer  (http://localhost:\d+/)\s", text)
        assert page is not None
        with urllib.request.urlopen(page[1], timeout=PATIENCE) as answer:
            assert b"<title>xyt-stream</title>" in answer.read()
        assert "ws://" not in text
        assert "{" not in text
        assert terminal.interrupt() == 0


def test_https_makes_a_certificate_a_token_and_a_qr_code() -> None:
    with in_terminal(*SERVE, "--https", "--host", "0.0.0.0") as terminal:
        text = terminal.read_until("Ctrl-C stops.")
        found = re.search(r"https://localhost:(\d+)/#token=(\S{12})\s", text)
        shown = re.search(r"SHA-256:((?:\s+[0-9A-F:]+){2})\s", text)
        assert found is not None
        assert shown is not None
        port, token = int(found[1]), found[2]
        pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE)
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
        assert re.sub(r"[\s:]", "", shown[1]) == digest
        trusting = ssl.create_default_context(cadata=pem)
        request = urllib.request.Request(f"https://localhost:{port}/info")
        request.add_header("Authorization", f"Bearer {token}")
        request.add_header("X-Forwarded-For", "192.0.2.9")  # a client elsewhere needs the token
        with urllib.request.urlopen(request, timeout=PATIENCE, context=trusting) as answer:
            assert json.load(answer)["token_needed"] is True
        request.remove_header("Authorization")
        with pytest.raises(HTTPError, match="401"):
            urllib.request.urlopen(request, timeout=PATIENCE, context=trusting)
        if "on the network" in text:
            assert "▄▄▄▄▄" in text  # the corner of a QR code
        assert terminal.interrupt() == 0


def test_without_a_terminal_lines_are_plain_and_the_log_is_json() -> None:
    server = subprocess.Popen(
        [*SERVE, "--https"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert re.fullmatch(
        r"xyt-stream serves codes at wss://127\.0\.0\.1:\d+\n", server.stdout.readline()
    )
    assert re.fullmatch(
        r"SHA-256 of the certificate ([0-9A-F]{2}:){31}[0-9A-F]{2}\n", server.stdout.readline()
    )
    server.send_signal(signal.SIGTERM)
    _, err = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    for line in err.splitlines():
        json.loads(line)


def test_addresses_are_those_where_clients_reach_the_server() -> None:
    def addresses(host: str, **options: str) -> tuple[str | None, str | None]:
        found = page_addresses(host, 80, secure=False, **options)
        return found.here, found.network

    assert addresses("127.0.0.1") == ("http://localhost:80/", None)
    assert addresses("::1") == ("http://localhost:80/", None)
    assert addresses("192.0.2.5") == (None, "http://192.0.2.5:80/")
    assert addresses("fd00::5", token="a b") == (None, "http://[fd00::5]:80/#token=a%20b")
    here, network = addresses("0.0.0.0")
    assert here == "http://localhost:80/"
    assert network is None or "0.0.0.0" not in network


def test_a_qr_code_is_a_square_of_blocks() -> None:
    lines = [re.sub(r"\x1b\[[\d;]+m", "", line) for line in qr_code("https://a/#b").splitlines()]
    assert len({len(line) for line in lines}) == 1
    assert set("".join(lines)) == set(" █▀▄")
