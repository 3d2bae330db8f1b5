from __future__ import annotations

import ssl

import pytest

from xyt_stream.client.handshake import open_websocket
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.server.admission.certificate import make_certificate
from xyt_stream.server.app import running


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_client_that_trusts_the_certificate_connects(name):
    made = make_certificate(["localhost", "127.0.0.1"])
    async with running(None, tls=made.tls) as server:
        trusting = ssl.create_default_context(cadata=made.pem.decode())
        url = f"wss://{name}:{server.port}"
        async with open_websocket(url, ssl=trusting, subprotocols=[SUBPROTOCOL]):
            pass
        with pytest.raises(ssl.SSLCertVerificationError):
            async with open_websocket(url, subprotocols=[SUBPROTOCOL]):
                pass


async def test_a_certificate_names_its_hosts_and_no_other():
    made = make_certificate(["192.0.2.1", "fd00::1"])
    async with running(None, tls=made.tls) as server:
        trusting = ssl.create_default_context(cadata=made.pem.decode())
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            async with open_websocket(f"wss://127.0.0.1:{server.port}", ssl=trusting):
                pass


def test_each_certificate_has_a_key_of_its_own():
    assert make_certificate(["a"]).fingerprint != make_certificate(["a"]).fingerprint
