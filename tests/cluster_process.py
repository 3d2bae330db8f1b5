"""Runs `xyt-stream cluster` as a process for tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xyt_stream.errors import ServeError

ROOT = Path(__file__).parents[1]
_STARTED = re.compile(r"(node-\d+) runs at (\S+), process (\d+)")


class ClusterProcess:
    """HAProxy and its nodes.

    Attributes:
        url: of the service.
        pids: the latest process of each node, by its name; a node that ends is started again.
        nodes: address of each node, by its name.
        output: all lines that it has printed.
    """

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "xyt_stream.cli", "cluster", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.url = ""
        self.pids: dict[str, int] = {}
        self.nodes: dict[str, str] = {}
        self.output: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(180), self.output
        assert self.url, "".join(self.output)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if found := _STARTED.search(line):
                self.pids[found[1]] = int(found[3])
                self.nodes[found[1]] = found[2]
            if found := re.search(r"serves \d+ nodes at (ws://\S+)", line):
                self.url = found[1]
                self._ready.set()
        self._ready.set()

    def send(self, node: str, number: int) -> None:
        """Sends a node a signal."""
        os.kill(self.pids[node], number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends all; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(120)
        self._reader.join(10)
        return status


@contextmanager
def cluster_process(*options: str) -> Iterator[ClusterProcess]:
    """A cluster while the block runs; the test is skipped where HAProxy cannot be installed."""
    from xyt_stream.server.cluster.haproxy import program

    try:
        program()
    except ServeError:
        if sys.platform == "linux" and os.uname().machine == "x86_64":
            raise  # the extra dev has it there
        pytest.skip("there is no HAProxy: `apt-get install haproxy`")
    cluster = ClusterProcess(*options)
    try:
        yield cluster
    finally:
        try:
            cluster.stop()
        finally:
            cluster.process.kill()
            print("".join(cluster.output[-400:]))  # shown where the test fails
