"""A room with many speakers of codes over three nodes, and the proxy's share of a frame's way."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from xyt_stream.bench.load import Target, measure, own_server
from xyt_stream.bench.relay_clients import run_rooms
from xyt_stream.server.admission.address import check_address
from xyt_stream.server.cluster.haproxy import config, program
from xyt_stream.server.cluster.process import Process

from ..cluster_process import cluster_process

SECONDS = 20.0
FREE = ("address-sessions", "address-joins", "address-handshakes", "relayed")


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [600, 2000])
def test_speakers_over_three_nodes_lose_no_frame(speakers):
    options = [f"--{name}=0" for name in FREE]
    options += ["--members", str(speakers // 3 + 40)]
    with cluster_process("--nodes", "3", "--relay", *options) as cluster:

        def wait():
            deadline = time.monotonic() + 120
            while sum("room subscribed" in line for line in cluster.output) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.1)

        result = run_rooms(cluster.url, 0, 1, speakers, SECONDS, wait)
    assert result.errors == []
    assert len(result.delays) == result.sent == round(SECONDS / 0.08) * speakers
    p50, p99, most = np.percentile(result.delays, (50, 99, 100)) * 1e3
    print(
        f"{speakers} speakers: {result.sent} frames, none lost; p50 {p50:.0f} ms, p99 {p99:.0f} ms,"
        f" at most {most:.0f} ms; clients {result.cpu / SECONDS:.2f} processors"
    )


@pytest.mark.slow
async def test_the_proxy_costs_a_frame_little(tmp_path: Path, clip):
    """The same load runs directly and through HAProxy, in turn, three times; nothing is encoded."""
    sessions = 32
    with own_server("none", slots=sessions) as server:
        port = check_address("127.0.0.1", 0)
        node = server.url.removeprefix("ws://")
        (tmp_path / "haproxy.cfg").write_text(config(f"127.0.0.1:{port}", {"node-1": node}))
        proxy = Process("HAProxy", [program(), "-db", "-f", str(tmp_path / "haproxy.cfg")])
        await proxy.start()
        try:
            targets = {"direct": server, "proxy": Target(f"ws://127.0.0.1:{port}", server.pid)}
            for name, target in 3 * list(targets.items()):
                result = await asyncio.to_thread(
                    measure, target, clip, sessions=sessions, seconds=12
                )
                assert result.lost_frames == 0
                p50, p99 = (result.turnaround_ms[each] for each in ("p50", "p99"))
                print(f"{sessions} sessions, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        finally:
            await proxy.stop(30)
