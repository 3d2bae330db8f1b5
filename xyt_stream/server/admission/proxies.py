"""Finds a client's address behind proxies, from X-Forwarded-For (as ProxyHeaders elsewhere)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from websockets.datastructures import Headers

from xyt_stream.errors import ServeError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_HEADER = "X-Forwarded-For"


class Proxies:
    """The proxies whose X-Forwarded-For header is believed.

    Args:
        networks: addresses ("127.0.0.1") or networks ("10.0.0.0/8"); without any, no header is.

    Raises:
        ServeError: one of them is neither.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        try:
            self._networks = [ipaddress.ip_network(network) for network in networks]
        except ValueError as error:
            raise ServeError(f"--proxy takes addresses and networks: {error}") from None

    def client(self, peer: str, headers: Headers) -> str:
        """The address of the client behind a connection from `peer`.

        Every proxy appends the address that it got the connection from. The header is read from its
        end; entries before the first unknown address may be forged and do not count.
        """
        address = _address(peer)
        entries = [each for line in headers.get_all(_HEADER) for each in line.split(",")]
        while entries and address is not None and self._trusts(address):
            address = _address(entries.pop())
            if address is None:
                break
            peer = str(address)
        return peer

    def trusts(self, peer: str) -> bool:
        """Whether a connection from `peer` comes from one of these proxies."""
        address = _address(peer)
        return address is not None and self._trusts(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> Address | None:
    """Parses "192.0.2.1", "192.0.2.1:80", "2001:db8::1" or "[2001:db8::1]:80"; None: none of them.

    An IPv4-mapped IPv6 address becomes the IPv4 address.
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
