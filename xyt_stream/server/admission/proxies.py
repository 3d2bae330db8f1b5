"""Who a connection really comes from, if a proxy stands between."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from websockets.datastructures import Headers

from xyt_stream.errors import ServeError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_HEADER = "X-Forwarded-For"


class Proxies:
    """Proxies whose word is taken for whom they forward.

    Args:
        networks: addresses ("127.0.0.1") or networks ("10.0.0.0/8"). Without any, nobody's word is.

    Raises:
        ServeError: one of them is neither.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        try:
            self._networks = [ipaddress.ip_network(network) for network in networks]
        except ValueError as error:
            raise ServeError(f"--proxy takes addresses and networks: {error}") from None

    def client(self, peer: str, headers: Headers) -> str:
        """The address of whoever a connection from `peer` is for.

        Every proxy adds to the end of the header where it has the connection from; what stands
        before the first that we do not know may be made up.
        """
        address = _address(peer)
        said = [each for line in headers.get_all(_HEADER) for each in line.split(",")]
        while said and address is not None and self._know(address):
            address = _address(said.pop())
            if address is None:
                break
            peer = str(address)
        return peer

    def _know(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> Address | None:
    """Of "192.0.2.1", "192.0.2.1:80", "2001:db8::1" or "[2001:db8::1]:80"; None of anything else.

    An IPv4 address in the clothes of IPv6 is the IPv4 address.
    """
    text = text.strip().partition("%")[0]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
