from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import subprocess
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect as raw_connect
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError, ServeError
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.server.admission.access import (
    Access,
    Token,
    check_bind,
    is_loopback,
    read_token_file,
    read_tokens,
)
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.admission.tls import tls_context
from xyt_stream.server.app import running, serve

TOKENS = """
# the studio
mic-word mic
listen-word  speaker,encode   # two roles
all-word
"""


def refusal(access, role, token, headers=()):
    try:
        access.check(role, token, Headers(headers))
    except ProtocolError as error:
        return error.name
    return None


def test_tokens_open_their_roles_only():
    access = Access(read_tokens(TOKENS))
    assert refusal(access, "mic", "mic-word") is None
    assert refusal(access, "speaker", "mic-word") == "forbidden"
    assert refusal(access, "mic", "listen-word") == "forbidden"
    assert refusal(access, "encode", "listen-word") is None
    assert refusal(access, "loopback", "all-word") is None
    for word in (None, "", "mic", "all-word "):
        assert refusal(access, "mic", word) == "unauthorized"


def test_a_bearer_header_is_accepted():
    access = Access([Token("word")])
    assert refusal(access, "mic", None, {"Authorization": "Bearer word"}) is None
    assert refusal(access, "mic", None, {"authorization": "bearer word"}) is None
    assert refusal(access, "mic", None, {"Authorization": "Basic word"}) == "unauthorized"
    assert refusal(access, "mic", "wrong", {"Authorization": "Bearer word"}) == "unauthorized"


def test_without_tokens_every_client_is_admitted():
    assert refusal(Access(), "mic", "anything") is None


@pytest.mark.parametrize("line", ["word singer", "word mic speaker", "word mic,,"])
def test_a_bad_token_line_is_named(line, tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"good\n{line}\n")
    with pytest.raises(ServeError, match="line 2"):
        read_token_file(path)


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/page", "https://", ""])
def test_an_impossible_origin_is_refused(origin):
    with pytest.raises(ServeError, match=r"write it as https://app\.example"):
        Access(origins=[origin])


def test_an_empty_token_is_refused(codec):
    with pytest.raises(ServeError, match="the token is empty"):
        Token("")
    with pytest.raises(ServeError, match="the token is empty"):
        serve(codec, host="0.0.0.0", port=0, max_sessions=1, token="")


def test_an_empty_token_file_is_refused(tmp_path):
    path = tmp_path / "tokens"
    with pytest.raises(ServeError, match="cannot read"):
        read_token_file(path)
    path.write_text("# none yet\n")
    with pytest.raises(ServeError, match="holds no token"):
        read_token_file(path)


def test_repr_hides_the_token():
    assert "secret" not in repr(Token("secret")) + repr(read_tokens("secret mic"))


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "trusted"),
    [
        (None, "a.example", (), True),
        ("https://a.example", "a.example:8765", (), True),
        ("https://b.example", "a.example", (), False),
        ("https://b.example", "a.example", ("https://b.example/",), True),
        ("https://b.example:1", "a.example", ("https://b.example",), False),
        ("https://b.example", "a.example", ("*",), True),
        ("http://localhost:3000", "127.0.0.1:8765", (), True),
        ("http://localhost:3000", "a.example", (), False),
        ("https://b.example", "localhost:8765", (), False),
        ("null", "127.0.0.1", (), False),
        ("http://[", "[", (), False),
        ("", "", (), False),
        ("null", "127.0.0.1", ("null",), True),
    ],
)
def test_pages_of_other_hosts_are_not_trusted(origin, host, allowed, trusted):
    headers = Headers({"Host": host, **({} if origin is None else {"Origin": origin})})
    assert Access([Token("word")], allowed).trusts(headers) == trusted


@pytest.mark.parametrize(
    ("host", "allowed", "trusted"),
    [
        ("localhost:8765", (), True),
        ("127.0.0.1:8765", (), True),
        ("[::1]:8765", (), True),
        ("192.0.2.1", (), True),
        ("203.0.114.1", (), False),
        ("10.1.2.3:8765", (), True),
        (f"{socket.gethostname()}:8765", (), True),
        ("ai", (), False),
        ("studio:8765", (), False),
        ("studio.local:8765", (), True),
        ("evil.example:8765", (), False),
        ("a.example", ("https://a.example",), True),
        ("a.example", ("*",), True),
        ("a.example.", ("https://a.example",), False),
    ],
)
def test_dns_rebinding_is_refused_without_tokens(host, allowed, trusted):
    headers = Headers({"Host": host, "Origin": f"http://{host}"})
    assert Access(origins=allowed).trusts(headers) == trusted
    assert Access(origins=allowed).answers_to(headers) == trusted
    assert Access([Token("word")], allowed).trusts(headers)


async def test_a_foreign_page_is_refused_before_the_websocket(server):
    with pytest.raises(InvalidStatus) as caught:
        await raw_connect(server.url, subprotocols=[SUBPROTOCOL], origin="https://evil.example")
    assert caught.value.response.status_code == 403


def test_loopback_addresses_are_not_public():
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert is_loopback(host)
        check_bind(host, Access(), public=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        assert not is_loopback(host)
        with pytest.raises(ServeError, match="without a token"):
            check_bind(host, Access(), public=False)
        check_bind(host, Access(), public=True)
        check_bind(host, Access([Token("word")]), public=False)


def test_a_public_server_needs_a_token(codec):
    with pytest.raises(ServeError, match="--allow-anyone"):
        serve(codec, host="0.0.0.0", port=0, max_sessions=1)
    logging.getLogger("xyt_stream.server").handlers.clear()


async def test_refusals_reach_client_and_log(codec, caplog):
    async with running(codec, max_sessions=1, access=Access(read_tokens(TOKENS))) as server:
        with caplog.at_level(logging.INFO, "xyt_stream.server"):
            for token, name in (("mic-word", "forbidden"), ("nothing", "unauthorized")):
                with pytest.raises(ProtocolError) as caught:
                    async with connect(server.url, "loopback", token=token):
                        pass
                assert caught.value.name == name
            websocket = await raw_connect(
                server.url,
                subprotocols=[SUBPROTOCOL],
                additional_headers={"Authorization": "Bearer all-word"},
            )
            await websocket.send('{"type":"hello","role":"loopback"}')
            assert json.loads(await websocket.recv())["type"] == "ready"
            await websocket.close()
    text = " ".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "forbidden" in text
    assert "-word" not in text
    assert "nothing" not in text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("there is no openssl to make a certificate with")
    return folder


async def test_tls_carries_a_session(codec, certificate, clip):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    trust = ssl.create_default_context(cafile=certificate / "cert.pem")
    async with running(codec, max_sessions=1, tls=context) as server:
        assert server.url.startswith("wss://")
        websocket = await raw_connect(server.url, subprotocols=[SUBPROTOCOL], ssl=trust)
        await websocket.send('{"type":"hello","role":"encode"}')
        assert json.loads(await websocket.recv())["type"] == "ready"
        await websocket.close()
        with pytest.raises((ConnectionClosed, OSError, EOFError, Exception)):
            await raw_connect(server.url.replace("wss", "ws"), open_timeout=5)


async def test_a_half_open_tls_handshake_is_closed(codec, certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    limits = Limits(hello_time=0.5)
    async with running(codec, max_sessions=1, tls=context, limits=limits) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 120) == b""
        writer.close()


def test_a_bad_certificate_is_named(tmp_path):
    path = tmp_path / "cert.pem"
    path.write_text("no certificate")
    with pytest.raises(ServeError, match=r"cannot use the certificate.*is no PEM file"):
        tls_context(path, None)
    missing = tmp_path / "missing.pem"
    with pytest.raises(ServeError, match=r"missing\.pem.*No such file"):
        tls_context(missing, None)


def test_a_key_without_a_certificate_is_refused(certificate):
    with pytest.raises(ServeError, match="give --tls-cert"):
        tls_context(None, certificate / "key.pem")


def test_token_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "tokens"
    path.write_bytes(b"\xef\xbb\xbffirst mic\nab#cd\n# a comment\n  # another\n")
    first, second = read_token_file(path)
    assert (first.secret, first.roles) == ("first", {"mic"})
    assert (second.secret, second.roles) == ("ab#cd", frozenset())
