"""Finds the addresses to listen on, and checks them before the model is loaded."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from xyt_stream.errors import ServeError

# The address is another machine's, or of a kind that this machine has not.
_NOT_OURS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
_TRIES = 20  # free ports that are tried until all addresses have one


def hosts_of(host: str) -> list[str]:
    """The addresses that a host name stands for: localhost is IPv4 and, where it works, IPv6."""
    if host.lower() != "localhost":
        return [host]
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "::1"]


def check_address(host: str, port: int) -> int:
    """Checks that a server can listen there.

    Args:
        port: 0: any port that is free at all addresses of the host.

    Returns:
        The port.

    Raises:
        ServeError: the port is in use, or the host is not one of this machine.
    """
    hosts = hosts_of(host)
    tries = 1 if port else _TRIES
    while True:
        tries -= 1
        try:
            return _bind(hosts, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not tries:
                raise ServeError(why_not(error, host, port)) from None


def _bind(hosts: list[str], port: int) -> int:
    """Binds all addresses to one port, and releases them."""
    with ExitStack() as stack:
        for host in hosts:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(1)  # two sockets may be bound to a port; only one may listen
            port = listener.getsockname()[1]
    return port


def why_not(error: OSError, host: str, port: int) -> str:
    """The reason why nothing can listen there, for the user."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: choose another with --port, or 0 for any free one"
    reason = f"cannot listen on {host}:{port}: {error.strerror or error}"
    if isinstance(error, socket.gaierror) or error.errno in _NOT_OURS:
        return (
            f"{reason}; give --host an address of this machine: 127.0.0.1 for itself alone, "
            "0.0.0.0 for others too"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{reason}; choose a --port from 1024 on"
    return reason
