from __future__ import annotations

import asyncio

import pytest

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.messages import Resume
from xyt_stream.server.admission.access import Access, read_tokens
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

UPGRADE = (
    "GET / HTTP/1.1",
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Protocol: xyt.v1",
)


async def ask(server, *lines, body=b""):
    """The status, the headers in lower case and the body of the server's answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    data = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *headers = head.decode().lower().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in headers), rest


@pytest.mark.parametrize("line", ["Authorization: Bearer a", "Origin: http://localhost", "Host: b"])
async def test_doubled_headers_are_a_bad_request(server, line, caplog):
    status, _, body = await ask(server, *UPGRADE, line, f"{line}b")
    assert status == 400
    assert line.split(":")[0].lower().encode() in body
    assert (await ask(server, *UPGRADE, "Upgrade: websocket"))[0] == 400
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    "lines",
    [
        ("GET / HTTP/1.1", "Host: localhost", "X: a\0b"),
        ("GET / HTTP/1.1", "Host: localhost", "X: a\x1b[2J"),
        ("GET / HTTP/1.1", "Host: localhost", "X: a", " b"),
        ("GET / HTTP/1.1", "Host: localhost", "X : a"),
        ("GET / HTTP/1.1", "Host: localhost", "nothing"),
        ("GET / HTTP/1.1", "Host: localhost", ": a"),
        ("GET /\xff HTTP/1.1", "Host: localhost"),
        ("GET /a b HTTP/1.1", "Host: localhost"),
        ("GET  HTTP/1.1", "Host: localhost"),
        ("GET / HTTP/2.0", "Host: localhost"),
        ("GET /", "Host: localhost"),
    ],
)
async def test_what_is_no_request_is_answered_and_leaves_nothing(server, until, lines, caplog):
    before = server.service.handshakes.connections
    assert (await ask(server, *lines))[0] == 400
    await until(lambda: server.service.handshakes.connections == before)
    assert not [record for record in caplog.records if record.exc_info]


async def test_head_is_answered_without_a_body(server):
    _, of_get, body = await ask(server, "GET / HTTP/1.1", "Host: localhost")
    status, of_head, nothing = await ask(server, "HEAD / HTTP/1.1", "Host: localhost")
    assert (status, nothing) == (200, b"")
    assert of_head["content-length"] == of_get["content-length"] == str(len(body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_not_allowed(server, method):
    lines = f"{method} /info HTTP/1.1", "Host: localhost", "Content-Length: 5"
    status, headers, _ = await ask(server, *lines, body=b"hello")
    assert (status, headers["allow"]) == (405, "get, head")


async def test_a_body_is_answered(server):
    lines = "GET / HTTP/1.1", "Host: localhost", "Content-Length: 5"
    assert (await ask(server, *lines, body=b"hello"))[0] == 400
    assert (await ask(server, "GET / HTTP/1.1", "Host: localhost", "Content-Length: 0"))[0] == 200


async def test_a_head_in_pieces_is_read(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for letter in "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n":
        writer.write(letter.encode())
        await asyncio.sleep(0)
    assert (await asyncio.wait_for(reader.read(), 60)).endswith(b"ok\n")
    writer.close()


async def test_more_headers_than_are_read_are_refused_by_their_number(server):
    lines = "GET /healthz HTTP/1.1", "Host: localhost"
    assert (await ask(server, *lines, *127 * ["X: 1"]))[0] == 200
    assert (await ask(server, *lines, *128 * ["X: 1"]))[0] == 431
    assert (await ask(server, *lines, *10_000 * ["X:"]))[0] == 431


TOKENS = Access(read_tokens("all-word\nmic-word mic\nspeaker-word speaker\n"))


@pytest.mark.parametrize("path", ["/metrics", "/info"])
async def test_figures_need_a_token_from_elsewhere(codec, path):
    """A proxy on this machine stands for clients elsewhere."""
    request = f"GET {path} HTTP/1.1", "Host: localhost"
    elsewhere = (*request, "X-Forwarded-For: 203.0.113.9")
    async with running(codec, max_sessions=1, access=TOKENS) as server:
        assert (await ask(server, *request))[0] == 200
        status, headers, _ = await ask(server, *elsewhere)
        assert (status, headers["www-authenticate"]) == (401, "bearer")
        assert (await ask(server, *elsewhere, "Authorization: Bearer wrong"))[0] == 401
        assert (await ask(server, *elsewhere, "Authorization: Bearer mic-word"))[0] == 200
        for open_path in ("/healthz", "/readyz"):
            lines = f"GET {open_path} HTTP/1.1", "Host: localhost", "X-Forwarded-For: 203.0.113.9"
            assert (await ask(server, *lines))[0] == 200


@pytest.mark.parametrize("word", ["\xff", "\xc3\xa9", "a" * 8000])
async def test_a_token_of_odd_bytes_is_a_wrong_one(codec, word, caplog):
    async with running(codec, max_sessions=1, access=TOKENS) as server:
        lines = "GET /metrics HTTP/1.1", "Host: localhost", "X-Forwarded-For: 203.0.113.9"
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        request = "\r\n".join([*lines, f"Authorization: Bearer {word}", "", ""])
        writer.write(request.encode("latin-1"))
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 401 ")
        writer.close()
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_resume_key_opens_only_what_the_token_does(codec):
    limits = Limits(load=0)
    async with (
        running(codec, max_sessions=2, access=TOKENS, limits=limits) as server,
        connect(server.url, "mic", room="a", token="mic-word", resume=30) as mic,
    ):
        (key,) = server.service._sessions
        for token, name in (("speaker-word", "forbidden"), ("nothing", "unauthorized")):
            with pytest.raises(ProtocolError) as caught:
                server.service.resume(Resume(token=key), token, {})
            assert caught.value.name == name
        assert server.service.resume(Resume(token=key), "mic-word", {}).role == "mic"
        await mic.end()


async def test_silent_connections_keep_no_other_client_out(codec):
    limits = Limits(load=0, address_handshakes=3)
    async with running(codec, max_sessions=2, limits=limits, proxies=["127.0.0.2"]) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
        ended = [asyncio.create_task(reader.read()) for reader, _ in silent]
        done, _ = await asyncio.wait(ended, timeout=1)
        assert len(done) == 2
        assert len(server.service.handshakes) == 3
        for _, writer in silent:
            writer.close()
        await asyncio.gather(*ended, return_exceptions=True)
        async with connect(server.url, "encode"):
            assert len(server.service.handshakes) == 0
