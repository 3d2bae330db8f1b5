"""A codec in the page that becomes too slow in the middle of a call: the server's takes over."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.edge import EdgeEncoder
from xyt_stream.protocol.messages import End, Kind
from xyt_stream.protocol.sealing import make_key
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from ..conftest import code_frames
from .page import frames_of, numbers_of, playwright
from .test_web_codec import needs_runtime, serve_instead

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_runtime]

MOVED = "the call goes on with the server"
FRAMES = 20  # coded here before the codec becomes slow


@pytest.fixture
def slow(monkeypatch):
    """The Worker needs twice the time of the sound, once it has coded some of it."""
    serve_instead(monkeypatch, "/codec_choice.js", "BUDGET = 0.6", "BUDGET = 1e9")
    serve_instead(monkeypatch, "/backlog.js", "LONG = 2", "LONG = 0.5")
    busy = "const end = performance.now() + {ms}; while (performance.now() < end);"
    for action, parameters, calls, ms in (
        ("encode", "{ samples }", 4 * FRAMES, 40),
        ("decode", "{ frames }", FRAMES, 160),
    ):
        head = f"  async {action}({parameters}) {{\n"
        count = f"self.{action}d = (self.{action}d ?? 0) + 1;"
        work = f"{count} if (self.{action}d > {calls}) {{ {busy.format(ms=ms)} }}\n"
        serve_instead(monkeypatch, "/codec-worker.js", head, head + work)


async def codes_here(call, mode):
    await call.page.get_by_role("radio", name=mode).check()
    await call.page.locator("#codec").select_option("here")
    await call.begin()


@pytest.mark.slow
async def test_a_loopback_goes_on(slow, serving, open_page, until):
    call = await open_page(serving.url)
    await codes_here(call, "Loopback")
    await call.says(MOVED)
    note = call.page.locator("#codec-note")
    await playwright.expect(note).to_contain_text("fell behind")
    first = len(frames_of(call.sockets[0]))
    await until(lambda: len(frames_of(call.sockets[0])) > first + 25)
    await until(lambda: sum(each.kind == Kind.PCM for each in call.sockets[-1]) > 25)
    _, played, rate = await call.recording("played")
    assert np.abs(played[-3 * rate :]).max() > 0.02
    await call.hang_up()
    assert {each.kind for each in call.sent[0]} == {Kind.CODES}
    assert numbers_of(call.sent[0]) == list(range(len(call.sent[0])))  # one session, none missing
    assert any(each.kind == Kind.PCM for socket in call.sent[1:] for each in socket)
    await until(lambda: serving.engine.free_slots == 4)
    before = len(call.sockets)
    await call.begin()  # the next call measures anew, and codes here again
    await until(lambda: len(call.sockets) > before and len(call.sockets[before]) > 5)
    assert {each.kind for each in call.sockets[before]} == {Kind.CODES}
    await call.hang_up()
    assert call.complaints == []


async def test_listeners_hear_no_end_when_their_mic_falls_behind(slow, serving, open_page, until):
    call = await open_page(serving.url)
    events = []

    async def listen(speaker):
        async for event in speaker:
            events.append(event)  # noqa: PERF401 - the test looks at them meanwhile

    async with connect(serving.url, "speaker", room="lobby", receive=("codes",)) as speaker:
        listening = asyncio.create_task(listen(speaker))
        await codes_here(call, "Room mic")
        await call.says(MOVED)
        before = len(events)
        await until(lambda: len(events) > before + 25)
        assert not any(isinstance(event, End) for event in events)
        await call.hang_up()
        await asyncio.wait_for(listening, 60)
    frames = code_frames(events)
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    assert call.complaints == []


@pytest.mark.slow
async def test_a_speaker_goes_on_and_hears_the_next_mic(slow, serving, open_page, clip, until):
    codes = EdgeEncoder().push(np.tile(clip, 3) / np.float32(32768))

    async def speak(mic):
        for frame in codes.T:
            await mic.send_codes(frame[:, None])
            await asyncio.sleep(0.08)

    call = await open_page(serving.url)
    await codes_here(call, "Room speaker")
    async with connect(serving.url, "mic", room="lobby", send="codes") as mic:
        speaking = asyncio.create_task(speak(mic))
        await call.says(MOVED)
        await until(lambda: sum(each.kind == Kind.PCM for each in call.sockets[-1]) > 10)
        await speaking
        await mic.end()
        await call.says("Nobody is speaking there yet")
    heard = len(call.sockets)
    async with connect(serving.url, "mic", room="lobby", send="codes") as mic:
        await mic.send_codes(codes[:, :20])
        await call.says("You are listening to the room")
        await until(lambda: any(each.kind == Kind.PCM for each in call.sockets[-1]))
    assert len(call.sockets) == heard  # the session that waited plays the server's sound
    await call.hang_up()
    assert call.complaints == []


@pytest.mark.slow
async def test_a_conversation_keeps_its_model(slow, codec, open_page, until):
    opened = []

    class Echo:
        def __init__(self, codec):
            pass

        def open(self, session):
            opened.append(session)

        def step(self, codes):
            return codes

        def close(self):
            pass

    async with running(codec, max_sessions=4, duplex=Echo, limits=Limits(load=0)) as server:
        call = await open_page(server.url)
        await codes_here(call, "Conversation")
        await call.says(MOVED)
        first = len(frames_of(call.sockets[0]))
        await until(lambda: len(frames_of(call.sockets[0])) > first + 25)
        _, played, rate = await call.recording("played")
        assert np.abs(played[-3 * rate :]).max() > 0.02
        await call.hang_up()
    assert len(opened) == 1
    assert call.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", make_key()], ids=["a relay", "an encrypted room"])
async def test_where_no_server_may_code_sound_is_left_out(slow, codec, open_page, until, key):
    async with running(codec if key else None, limits=Limits(load=0)) as server:
        call = await open_page(server.url, link=f"#room=den&key={key}")
        await call.page.get_by_role("radio", name="Room mic").check()
        await call.begin()
        await playwright.expect(call.page.locator("#codec")).to_have_value("here")
        await call.says("too slow for the codec: sound is left out")
        sent = len(call.sent[0])
        await until(lambda: len(call.sent[0]) > sent + 5)
        assert await call.page.get_attribute("#button", "data-state") == "live"
        await call.hang_up()
    kind = Kind.SEALED if key else Kind.CODES
    assert {each.kind for socket in call.sent for each in socket} == {kind}
    assert call.complaints == []
