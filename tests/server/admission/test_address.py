"""The addresses that a server listens on, on real sockets."""

from __future__ import annotations

import socket

import pytest
from websockets.asyncio.client import connect

from xyt_stream.errors import ServeError
from xyt_stream.server.admission.address import check_address, hosts_of
from xyt_stream.server.app import running


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("port", [0, None])
async def test_localhost_means_both_families(codec, port):
    port = check_address("localhost", 0) if port is None else port
    async with running(codec, host="localhost", port=port, max_sessions=1) as server:
        for host in hosts_of("localhost"):
            family = f"[{host}]" if ":" in host else host
            async with connect(f"ws://{family}:{server.port}", subprotocols=["xyt.v1"]):
                pass
    assert hosts_of("localhost") == ["127.0.0.1", *["::1"] * has_ipv6()]
    assert hosts_of("127.0.0.1") == ["127.0.0.1"]


def test_free_port_is_found_and_taken_ports_are_refused():
    port = check_address("127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", port)):
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(ServeError, match=f"port {port} is in use"):
                check_address(host, port)


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid", "300.1.1.1", "1.2.3", "fe80::1"])
def test_an_address_of_no_machine_here_says_which_to_give(host):
    with pytest.raises(ServeError, match=r"cannot listen on .* give --host an address of this"):
        check_address(host, 0)
