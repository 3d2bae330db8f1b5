"""Speakers at other nodes than their mic hear what they would hear at its own, to the bit."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import numpy as np
import pytest
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import InvalidStatus

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.messages import SUBPROTOCOL, Pong

from ..proxy import Proxy
from .conftest import several


async def drained(nodes, name, proxy, to):
    """Has a node give its sessions up, to the node to which the proxy then leads."""
    proxy.target = nodes[to].port
    await asyncio.wait_for(nodes[name].handover.begin_drain(), 60)


async def all_heard(mic, saying, hearing, codes):
    """Ends the mic once all is said; all speakers must have heard it."""
    await saying
    await mic.end()
    for heard in await asyncio.gather(*hearing):
        same(heard, codes)


async def joined(nodes, name):
    """Waits until a node's speakers are fed by another, which has begun to send."""

    def figures(direction):
        metric = f"xyt_subscriptions_{direction}"
        return {each: nodes.figure(each, metric) for each in nodes.servers}

    for _ in range(6000):
        fed, feeding = figures("in"), figures("out")
        if fed[name] and sum(feeding.values()) >= sum(fed.values()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("no subscription")


def same(heard, codes):
    np.testing.assert_array_equal(heard.codes, codes)
    assert heard.code_frames == list(range(codes.shape[1]))


@pytest.mark.parametrize("first", ["the mic", "the speakers"])
async def test_speakers_hear_a_mic_of_another_node(relays, codes, hear, say, until, first):
    async with AsyncExitStack() as stack:

        async def join(name, role):
            url = relays.url(name)
            return await stack.enter_async_context(connect(url, role, room="r", **OPTIONS[role]))

        mic = await join("a", "mic") if first == "the mic" else None
        speakers = [await join(name, "speaker") for name in "abbcc"]
        mic = mic or await join("a", "mic")
        for name in "bc":
            await joined(relays, name)
        await say(mic, codes)
        assert relays.figure("a", "xyt_subscriptions_out") == 2
        await mic.end()
        for heard in await asyncio.gather(*map(hear, speakers)):
            same(heard, codes)
        assert relays.figure("a", 'xyt_subscribed_frames_total{direction="out"}') == 120
        assert relays.figure("b", 'xyt_subscribed_frames_total{direction="in"}') == 60
    await until(lambda: not any(each.service.sessions() for each in relays.servers.values()))
    await until(lambda: not relays.figure("a", "xyt_subscriptions_out"))
    for name in "bc":
        await until(lambda name=name: not relays.figure(name, "xyt_subscriptions_in"))
        assert relays[name].service.rooms._rooms == {}


OPTIONS = {"mic": {"send": "codes"}, "speaker": {"receive": ("codes",)}}


async def test_sound_is_decoded_once_at_each_node(codec, clip, direct, hear, until):
    async with several(codec, "ab") as nodes:
        async with (
            connect(nodes.url("b"), "speaker", room="r") as one,
            connect(nodes.url("b"), "speaker", room="r", receive=("pcm", "codes")) as two,
            connect(nodes.url("a"), "mic", room="r") as mic,
        ):
            await joined(nodes, "b")
            await mic.send_pcm(clip)
            await mic.end()
            heard = await asyncio.gather(hear(one), hear(two))
            np.testing.assert_array_equal(heard[1].codes, direct.codes)
            for each in heard:  # the last frame is heard whole: its codes do not tell its length
                assert 0 <= len(each.sound) - len(clip) < 1280
                sound = each.sound[: len(clip) - 1280].astype(int)
                assert np.abs(sound - direct.sound[: len(sound)]).max() <= 2
        page = nodes["b"].service.metrics.page().decode()
        (line,) = [x for x in page.splitlines() if x.startswith("xyt_frames_total ")]
        assert float(line.split()[1]) <= direct.codes.shape[1] + 2
        await until(lambda: nodes["b"].engine.free_slots == 4)


async def test_a_speaker_that_comes_later_hears_the_rest_with_its_numbers(relays, codes, hear, say):
    async with connect(relays.url("a"), "mic", room="r", send="codes") as mic:
        await say(mic, codes[:, :20])
        async with connect(relays.url("b"), "speaker", room="r", receive=("codes",)) as speaker:
            await joined(relays, "b")
            await say(mic, codes[:, 20:])
            await mic.end()
            heard = await hear(speaker)
    np.testing.assert_array_equal(heard.codes, codes[:, 60 - heard.codes.shape[1] :])
    assert heard.code_frames == list(range(60 - heard.codes.shape[1], 60))


async def test_a_speaker_stays_for_the_next_mic(relays, codes, hear, say):
    """Its first mic ends before it has come."""
    async with connect(relays.url("a"), "mic", room="r", send="codes") as mic:
        await say(mic, codes[:, :5])
        await mic.end()
        await hear(mic)
    async with (
        connect(relays.url("b"), "speaker", room="r", receive=("codes",)) as speaker,
        connect(relays.url("c"), "mic", room="r", send="codes") as mic,
    ):
        await joined(relays, "b")
        await say(mic, codes)
        await mic.end()
        same(await hear(speaker), codes)


async def test_a_mic_that_resumes_loses_nothing_at_other_nodes(relays, codes, hear, say):
    async with (
        Proxy(relays["a"].port) as proxy,
        connect(relays.url("b"), "speaker", room="r", receive=("codes",)) as speaker,
        connect(proxy.url, "mic", room="r", send="codes") as mic,
    ):
        await joined(relays, "b")
        for start in range(0, 60, 20):
            await say(mic, codes[:, start : start + 20])
            proxy.cut()
        await mic.end()
        same(await hear(speaker), codes)


@pytest.mark.parametrize("to", ["b", "c"])
async def test_speakers_follow_a_mic_that_moves(relays, codes, hear, say, to):
    """To one of their own nodes, from which the other gets it; those beside the mic move along."""
    async with (
        Proxy(relays["a"].port) as proxy,
        connect(relays.url("b"), "speaker", room="r", receive=("codes",)) as other,
        connect(relays.url("c"), "speaker", room="r", receive=("codes",)) as third,
        connect(proxy.url, "mic", room="r", send="codes") as mic,
        connect(proxy.url, "speaker", room="r", receive=("codes",)) as beside,
    ):
        await joined(relays, "b")
        await joined(relays, "c")
        hearing = [asyncio.create_task(hear(each)) for each in (other, third, beside)]
        saying = asyncio.create_task(say(mic, codes, 0.01))
        await asyncio.sleep(0.1)
        await drained(relays, "a", proxy, to)
        await all_heard(mic, saying, hearing, codes)
        for name in "bc":
            assert relays.figure(name, 'xyt_subscribed_frames_total{direction="lost"}') == 0


@pytest.mark.parametrize("to", ["a", "c"])
async def test_speakers_move_without_their_mic(relays, codes, hear, say, to):
    """Their node goes away: they come to the mic's, or to a third one."""
    async with (
        Proxy(relays["b"].port) as proxy,
        connect(proxy.url, "speaker", room="r", receive=("codes",)) as one,
        connect(proxy.url, "speaker", room="r", receive=("codes",)) as two,
        connect(relays.url("a"), "mic", room="r", send="codes") as mic,
    ):
        await joined(relays, "b")
        hearing = [asyncio.create_task(hear(each)) for each in (one, two)]
        saying = asyncio.create_task(say(mic, codes, 0.01))
        await asyncio.sleep(0.1)
        await drained(relays, "b", proxy, to)
        await all_heard(mic, saying, hearing, codes)


async def test_a_mic_comes_to_the_speakers_own_node(relays, codes, hear, say):
    async with (
        connect(relays.url("b"), "speaker", room="r", receive=("codes",)) as speaker,
        connect(relays.url("b"), "mic", room="r", send="codes") as mic,
    ):
        await say(mic, codes)
        await mic.end()
        same(await hear(speaker), codes)
        assert relays.figure("b", "xyt_subscriptions_in") == 0


async def test_frames_are_passed_on_once(codes, hear, say, relays):
    """A node that knows only the speakers' node hears nothing of the mic."""
    del relays.peers["c"]._urls["a"]
    async with (
        connect(relays.url("b"), "speaker", room="r", receive=("codes",)) as near,
        connect(relays.url("c"), "speaker", room="r", receive=("codes",)) as far,
        connect(relays.url("a"), "mic", room="r", send="codes") as mic,
    ):
        await joined(relays, "b")
        await say(mic, codes)
        await mic.end()
        same(await hear(near), codes)
        assert relays.figure("c", "xyt_subscriptions_in") == 0
        assert relays.figure("b", "xyt_subscriptions_out") == 0
        await far.close()


async def test_a_mic_is_told_of_listeners_at_all_nodes(relays):
    heard = None

    async def listen(mic):
        nonlocal heard
        async for event in mic:
            if isinstance(event, Pong):
                heard = event.listeners

    async def told(mic, number):
        for _ in range(6000):
            await mic.ping(0)  # in vain while the mic moves
            await asyncio.sleep(0.02)
            if heard == number:
                return
        raise AssertionError(f"the mic's last pong counts {heard} listeners, not {number}")

    async with AsyncExitStack() as stack, Proxy(relays["a"].port) as proxy:
        urls = {"a": proxy.url, "b": relays.url("b"), "c": relays.url("c")}

        async def speaker(name):
            return await stack.enter_async_context(connect(urls[name], "speaker", room="r", **C))

        speakers = [await speaker(name) for name in "abbc"]
        mic = await stack.enter_async_context(connect(urls["a"], "mic", room="r", send="codes"))
        listening = asyncio.create_task(listen(mic))
        await told(mic, 4)
        late = await speaker("c")
        await told(mic, 5)
        await late.close()
        await speakers[1].close()
        await told(mic, 3)
        await drained(relays, "a", proxy, "c")
        await told(mic, 3)
        await speakers[2].close()
        await told(mic, 2)
        await mic.end()
        await asyncio.wait_for(listening, 60)


async def test_a_full_room_sends_its_speakers_to_other_nodes():
    async with several(None, "ab", members=2) as nodes:
        a = nodes.url("a")
        async with connect(a, "mic", room="r", send="codes"), connect(a, "speaker", room="r", **C):
            with pytest.raises(InvalidStatus) as caught:
                await raw_connect(f"{a}/?room=r&role=speaker", subprotocols=[SUBPROTOCOL])
            assert caught.value.response.status_code == 503
            async with connect(a, "speaker", room="another", **C):
                pass
            with pytest.raises(ProtocolError) as refused:
                async with connect(a, "mic", room="r", send="codes"):
                    pass
            assert refused.value.name == "room_full"


async def test_speakers_leave_a_place_for_their_mic(codes, hear, say):
    async with several(None, "ab", members=2) as nodes:
        a = nodes.url("a")
        async with connect(a, "speaker", room="r", **C) as speaker:
            with pytest.raises(ProtocolError) as refused:
                async with connect(a, "speaker", room="r", **C):
                    pass
            assert refused.value.name == "busy"  # by 503: a proxy tries another node
            async with connect(a, "mic", room="r", send="codes") as mic:
                await say(mic, codes)
                await mic.end()
                same(await hear(speaker), codes)


async def test_speakers_that_come_at_once_leave_a_place_for_their_mic():
    async with several(None, "ab", members=4) as nodes, AsyncExitStack() as stack:
        a = nodes.url("a")

        async def open_one():
            url = f"{a}/?room=r&role=speaker"
            websocket = await raw_connect(url, subprotocols=[SUBPROTOCOL])
            return await stack.enter_async_context(websocket)

        outcomes = await asyncio.gather(*(open_one() for _ in range(8)), return_exceptions=True)
        refused = [each for each in outcomes if isinstance(each, InvalidStatus)]
        assert [each.response.status_code for each in refused] == 5 * [503]
        opened = [each for each in outcomes if each not in refused]
        for each in opened:
            hello = {"type": "hello", "role": "speaker", "room": "r", "receive": ["codes"]}
            await each.send(json.dumps(hello))
            assert json.loads(await each.recv())["type"] == "ready"
        async with connect(a, "mic", room="r", send="codes"):
            pass


async def test_the_place_of_a_speaker_that_does_not_come_is_free_once_it_has_gone(until):
    async with several(None, "ab", members=3) as nodes:
        url = f"{nodes.url('a')}/?room=r&role=speaker"
        rooms = nodes["a"].service.rooms
        for _ in range(3):  # with and without a closing handshake
            gone = [await raw_connect(url, subprotocols=[SUBPROTOCOL]) for _ in range(2)]
            with pytest.raises(InvalidStatus):
                await raw_connect(url, subprotocols=[SUBPROTOCOL])
            await gone[0].close()
            gone[1].transport.abort()
            await until(lambda: rooms._places.count("r") == 0)
        async with raw_connect(url, subprotocols=[SUBPROTOCOL]):
            assert rooms._places.count("r") == 1
        name = 1000 * "r"  # no room has such a name
        async with raw_connect(url.replace("=r&", f"={name}&"), subprotocols=[SUBPROTOCOL]):
            assert rooms._places.count(name) == 0


C = {"receive": ("codes",)}


async def test_encrypted_rooms_stay_so_between_nodes(relays, codes, hear, say):
    pytest.importorskip("cryptography", reason="encrypted rooms need the extra seal")
    key = "a key for this test"
    async with (
        connect(relays.url("b"), "speaker", room="r", key=key) as speaker,
        connect(relays.url("a"), "mic", room="r", key=key) as mic,
        connect(relays.url("c"), "speaker", room="r", **C) as without,
    ):
        await joined(relays, "b")
        with pytest.raises(ProtocolError) as caught:
            await hear(without)
        assert caught.value.name == "room_sealed"
        await say(mic, codes)
        await mic.end()
        same(await hear(speaker), codes)


async def test_speakers_of_another_model_are_refused_once_there_is_a_mic(relays):
    async with (
        connect(relays.url("b"), "speaker", room="r", **C) as speaker,
        connect(relays.url("a"), "mic", room="r", send="codes", model_hash="ab" * 32),
    ):
        with pytest.raises(ProtocolError) as caught:
            async for _ in speaker:
                pass
        assert caught.value.name == "wrong_model"
