from __future__ import annotations

import pytest
from websockets.asyncio.client import connect as raw_connect
from websockets.datastructures import Headers

from xyt_stream.errors import ServeError
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.admission.proxies import Proxies
from xyt_stream.server.app import running

PROXIES = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"]


@pytest.mark.parametrize(
    ("peer", "said", "client"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.1, 10.1.2.3"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.1", "10.1.2.3"], "192.0.2.1"),
        ("127.0.0.1", ["1.1.1.1, 192.0.2.1"], "192.0.2.1"),  # the first was made up by the client
        ("127.0.0.1", ["10.1.2.3"], "10.1.2.3"),
        ("192.0.2.9", ["192.0.2.1"], "192.0.2.9"),  # not a proxy of ours
        ("127.0.0.1", ["192.0.2.1:4711"], "192.0.2.1"),
        ("127.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("127.0.0.1", ["2001:DB8::0:1"], "2001:db8::1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:127.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["::ffff:192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["1.1.1.1, unknown, 10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("fe80::1%eth0", ["192.0.2.1"], "fe80::1%eth0"),
    ],
)
def test_the_client_behind_proxies_is_found(peer, said, client):
    headers = Headers([("X-Forwarded-For", line) for line in said])
    assert Proxies(PROXIES).client(peer, headers) == client


def test_without_proxies_no_header_is_believed():
    headers = Headers({"X-Forwarded-For": "192.0.2.1"})
    assert Proxies().client("127.0.0.1", headers) == "127.0.0.1"


@pytest.mark.parametrize("network", ["proxy.example", "10.0.0.1/8", ""])
def test_a_bad_network_is_named(network):
    with pytest.raises(ServeError, match="--proxy"):
        Proxies([network])


async def hello(server, client):
    """The server's answer to a client behind this X-Forwarded-For header."""
    async with raw_connect(
        server.url, subprotocols=[SUBPROTOCOL], additional_headers={"X-Forwarded-For": client}
    ) as websocket:
        await websocket.send('{"type":"hello","role":"speaker","room":"a"}')
        yield await websocket.recv()


async def answers(server, clients):
    """To each of them, all there at once."""
    waiting = [hello(server, client) for client in clients]
    answers = [await anext(each) for each in waiting]
    for each in waiting:
        await each.aclose()
    return ["ready" if '"ready"' in answer else "refused" for answer in answers]


@pytest.mark.parametrize(
    ("proxies", "expected"),
    [
        (["127.0.0.1"], ["ready", "ready", "refused", "ready"]),
        ([], ["ready", "ready", "refused", "refused"]),
    ],
)
async def test_limits_apply_to_each_client_behind_a_proxy(codec, proxies, expected):
    limits = Limits(address_sessions=2)
    async with running(codec, max_sessions=1, limits=limits, proxies=proxies) as server:
        clients = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"]
        assert await answers(server, clients) == expected
