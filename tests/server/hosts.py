"""Some hosts on one machine and a bad cable between them.

A host is a network namespace. Every IP packet from one to the other goes through `Cable`, in this
process, which delays and loses it as asked; it needs no kernel module for that.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x0001 | 0x1000
_MTU = 1500
NAME = "xyt0"  # of each host's interface

_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """A network namespace with one interface, whose packets come out of `wire`."""

    def __init__(self, address: str) -> None:
        self.address = address
        home = _namespace()
        try:
            _checked(_libc.unshare(_CLONE_NEWNET))
            self._fd = _namespace()
            self.wire = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.wire, _TUNSETIFF, struct.pack("16sH", NAME.encode(), _IFF_TUN_NO_PI))
            for words in (
                ("link", "set", "lo", "up"),
                ("addr", "add", f"{address}/24", "dev", NAME),
                ("link", "set", NAME, "up", "mtu", str(_MTU)),
            ):
                subprocess.run(["ip", *words], check=True, capture_output=True)
        finally:
            _checked(_libc.setns(home, _CLONE_NEWNET))
            os.close(home)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and what it starts, is on the host."""
        before = _namespace()
        _checked(_libc.setns(self._fd, _CLONE_NEWNET))
        try:
            yield
        finally:
            _checked(_libc.setns(before, _CLONE_NEWNET))
            os.close(before)

    def plug(self, state: str) -> None:
        """The interface goes "up" or "down"."""
        with self.inside():
            subprocess.run(["ip", "link", "set", NAME, state], check=True)

    def close(self) -> None:
        os.close(self.wire)
        os.close(self._fd)


class Cable:
    """Carries packets between hosts; the order stays, as on most networks.

    Attributes:
        lateness: seconds that the next packet takes; None: it is lost.
        rate: bits a second from any host to any other, headers of IP included; None: any number.
        cut: nothing passes.
        carried, lost: packets.
    """

    def __init__(self, *hosts: Host) -> None:
        self.lateness: Callable[[], float | None] = lambda: 0.0
        self.rate: float | None = None
        self.cut = False
        self.carried = self.lost = 0
        self._wires = {socket.inet_aton(host.address): host.wire for host in hosts}
        self._free: dict[tuple[int, int], float] = {}  # when the line has sent what it has
        self._due: dict[tuple[int, int], float] = {}  # when its last packet arrives
        self._on_their_way: list[tuple[float, int, int, bytes]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            waiting = self._on_their_way
            wait = waiting[0][0] - time.monotonic() if waiting else 0.05
            ready, _, _ = select.select(
                list(self._wires.values()), [], [], min(0.05, max(0.0, wait))
            )
            for source in ready:
                self._take(source)
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, target, packet = heapq.heappop(waiting)
                with suppress(OSError):  # the interface is down
                    os.write(target, packet)

    def _take(self, source: int) -> None:
        try:
            packet = os.read(source, _MTU)
        except OSError:
            return
        target = self._wires.get(packet[16:20])
        if packet[0] >> 4 != 4 or target is None:  # a router solicitation of IPv6
            return
        late = None if self.cut else self.lateness()
        if late is None:
            self.lost += 1
            return
        self.carried += 1
        line, now = (source, target), time.monotonic()
        seconds = 8 * len(packet) / self.rate if self.rate else 0.0
        self._free[line] = sent = max(self._free.get(line, 0.0), now) + seconds
        self._due[line] = due = max(self._due.get(line, 0.0), sent + late)
        heapq.heappush(self._on_their_way, (due, self.carried, target, packet))


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host, Cable]]:
    """Two hosts and the cable between them; the test is skipped where that cannot be."""
    with some_hosts(2) as (hosts, cable):
        yield hosts[0], hosts[1], cable


@contextmanager
def some_hosts(count: int) -> Iterator[tuple[list[Host], Cable]]:
    """Hosts and the cable between them; the test is skipped where that cannot be."""
    if shutil.which("ip") is None:
        pytest.skip("hosts on one machine need `ip`: Debian's iproute2")
    hosts: list[Host] = []
    try:
        for number in range(count):
            hosts.append(Host(f"10.98.0.{number + 1}"))  # noqa: PERF401 - closed if one fails
    except (OSError, subprocess.CalledProcessError) as error:
        for host in hosts:
            host.close()
        pytest.skip(f"hosts on one machine need root and /dev/net/tun: {error}")
    cable = Cable(*hosts)
    try:
        yield hosts, cable
    finally:
        cable.close()
        for host in hosts:
            host.close()


def _namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
