"""Starts several relays behind HAProxy, for one room whose speakers they share."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator

from xyt_stream.bench.process_usage import process_of
from xyt_stream.bench.relay import OPTIONS, Relay
from xyt_stream.errors import ServeError

_STARTED = re.compile(r"(node-\d+) runs at (\S+), process (\d+)")
_SERVES = re.compile(r"serves \d+ nodes at (ws://\S+)")
_SUBSCRIBED = re.compile(rb"^xyt_subscriptions_in (\d+)", re.MULTILINE)
_STOP_SECONDS = 60  # s until all nodes must have ended
_ROOM_SECONDS = 60  # s until all nodes must have the room


@contextlib.contextmanager
def own_cluster(nodes: int, speakers: int) -> Iterator[Relay]:
    """Starts `xyt-stream cluster` in a process of its own and ends it on exit.

    Args:
        nodes: number of relays.
        speakers: of the room that they will share.

    Raises:
        ServeError: it did not start.
    """
    # A node keeps a place for the mic; some speakers come to a node before it knows of others.
    options = {**OPTIONS, "members": -(-speakers // nodes) + 2 + speakers // 50}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "xyt_stream.cli", "cluster", "--nodes", str(nodes)),
            *("--port", "0", "--relay", "--log-level", "error"),
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        pages, pids = [], []
        for line in process.stdout:
            if found := _STARTED.search(line):
                pages.append(f"{found[2]}/metrics")
                pids.append(int(found[3]))
            if found := _SERVES.search(line):
                break
        else:
            raise ServeError("the relays did not start: see their messages above")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        others = {child.pid for child in process_of(process.pid).children()} - set(pids)
        yield Relay(found[1], pids, list(others), lambda: _wait_for_room(pages))
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_room(pages: list[str]) -> None:
    """Waits until all nodes but one are fed by that one."""
    deadline = time.monotonic() + _ROOM_SECONDS
    while sum(map(_subscriptions, pages)) < len(pages) - 1:
        if time.monotonic() > deadline:
            raise ServeError("not every relay has speakers of the room: name more --speakers")
        time.sleep(0.1)


def _subscriptions(page: str) -> int:
    with urllib.request.urlopen(page, timeout=10) as answer:
        found = _SUBSCRIBED.search(answer.read())
    return 0 if found is None else int(found[1])
