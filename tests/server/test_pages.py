"""Plain HTTP, on the port of the websockets."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request

from xyt_stream.client import connect
from xyt_stream.server.app import running


async def get(server, path):
    """(status, body)"""

    def fetch():
        url = f"{server.url.replace('ws', 'http', 1)}{path}"
        try:
            with urllib.request.urlopen(url, timeout=120) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


def figure(page, name):
    return float(next(line.split()[-1] for line in page.splitlines() if line.startswith(name)))


async def test_health_and_readiness(server):
    assert await get(server, "/healthz") == (200, "ok\n")
    assert await get(server, "/readyz") == (200, "ready\n")
    assert (await get(server, "/nothing"))[0] == 404


async def test_a_dead_engine_is_not_healthy(codec):
    async with running(codec, max_sessions=1) as server:
        server.engine.stop()
        assert (await get(server, "/healthz"))[0] == 500
        assert (await get(server, "/readyz"))[0] == 503


async def test_the_page_explains_a_refused_host_name(server):
    port = server.url.rpartition(":")[2]
    request = f"GET / HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(request.encode())
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 403")
    assert "start it with a token or with --origin" in answer


async def test_info_describes_the_server(server, codec):
    status, body = await get(server, "/info")
    info = json.loads(body)
    assert status == 200
    assert info["model"]["hash"] == codec.hash
    assert (info["slots"], info["slots_free"], info["token_needed"]) == (4, 4, False)


async def test_metrics_count_sessions_and_frames(server, clip, hear, until):
    async with connect(server.url, "loopback") as connection:
        page = (await get(server, "/metrics"))[1]
        assert figure(page, "xyt_sessions ") == 1
        assert figure(page, "xyt_slots_free") == 3
        await connection.send_pcm(clip[: 10 * 1280])
        await connection.end()
        await hear(connection)
    await until(lambda: server.engine.free_slots == 4)
    page = (await get(server, "/metrics"))[1]
    assert figure(page, "xyt_sessions ") == 0
    assert figure(page, "xyt_frames_total") == 10
    assert figure(page, 'xyt_sessions_opened_total{role="loopback"}') == 1
    assert figure(page, "xyt_frame_turnaround_seconds_count") == 10
    assert figure(page, "xyt_step_frames_sum") == 10


async def test_answer_times_are_measured(server, clip, hear):
    """Each frame of a client in real time is timed once."""
    assert json.loads((await get(server, "/info"))[1])["answer_ms"] is None
    async with connect(server.url, "loopback", receive=("pcm", "codes")) as connection:
        events = aiter(connection)
        for frame in range(5):
            await connection.send_pcm(clip[frame * 1280 : (frame + 1) * 1280])
            for _ in range(2):
                await anext(events)
        await connection.end()
        await hear(connection)
    page = (await get(server, "/metrics"))[1]
    assert figure(page, "xyt_frame_answer_seconds_count") == 5
    times = json.loads((await get(server, "/info"))[1])["answer_ms"]
    assert 0 < times["p50"] <= times["p99"] <= times["max"]


async def test_each_check_samples_the_queues(server):
    async with connect(server.url, "loopback"), connect(server.url, "speaker", room="a"):
        before = figure((await get(server, "/metrics"))[1], "xyt_session_queue_messages_count")
        server.service.check(time.monotonic())
        page = (await get(server, "/metrics"))[1]
    assert figure(page, "xyt_session_queue_messages_count") >= before + 2
    assert figure(page, 'xyt_session_queue_messages_bucket{le="0.0"}') >= 2
