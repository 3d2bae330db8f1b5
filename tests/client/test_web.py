"""The page in a real Chromium with a recording as microphone: its sound and its picture."""

from __future__ import annotations

import os
import re
from typing import ClassVar

import numpy as np
import pytest

from xyt_stream import Codec
from xyt_stream.audio import resample, to_float32
from xyt_stream.protocol.messages import Kind
from xyt_stream.server.admission.access import Access, Token
from xyt_stream.server.admission.certificate import make_certificate
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from .page import PAUSE, RATE, playwright

stoi = pytest.importorskip("pystoi", reason="pystoi is not installed").stoi

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRIES = 4  # calls; in a short one the jitter buffer may have cut into each repetition
CALM = 6.5  # seconds that hold a whole repetition, and all that the figures are made of


def lags(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the correlation at each lag of `second`, in samples; negative lags are at the end."""
    size = 1 << (len(first) + len(second)).bit_length()
    return np.fft.irfft(np.fft.rfft(second, size) * np.conj(np.fft.rfft(first, size)), size)


def intelligibility(clip: np.ndarray, sound: np.ndarray) -> float:
    """STOI of the best repetition of `clip`: the jitter buffer may have given up 20 ms of another.

    A codec does not keep phases, so waveforms agree best somewhere near the place, and STOI there.
    """
    scores, left = [], sound.copy()
    for _ in range(round(len(sound) / (len(clip) + PAUSE * RATE)) + 1):
        near = int(np.argmax(lags(clip, left)[: len(sound) - len(clip)]))
        places = range(max(0, near - 320), min(near + 320, len(sound) - len(clip)), 40)
        scores += [stoi(clip, sound[at : at + len(clip)], RATE) for at in places]
        left[near : near + len(clip)] = 0
    return max(scores)


async def test_loopback_plays_the_codec_output(serving, open_page, clip, direct):
    """The sound is as good as the codec's without a wire, and the shown latency is true."""
    clean = to_float32(clip)
    expected = stoi(clean, to_float32(direct.sound), RATE)
    assert expected > 0.6
    for _ in range(TRIES):
        call = await open_page(serving.url)
        await call.begin()
        if not await call.calm(CALM):
            if os.getloadavg()[0] > (os.cpu_count() or 1):
                pytest.skip("this machine is too busy for live sound")
            pytest.fail("the sound does not come to rest")
        thousand = re.compile(r"^(9[5-9]0|10[0-5]0)$")
        await playwright.expect(call.page.locator("#bits")).to_have_text(thousand)
        figures = await call.figures()
        await call.hang_up()
        heard_at, heard, rate = await call.recording("heard")
        played_at, played, _ = await call.recording("played")
        reached = intelligibility(clean, resample(played, rate, RATE))
        if reached > expected - 0.03:
            break
    assert reached > expected - 0.03

    colours = await call.page.eval_on_selector_all(
        "#bar span", "spans => spans.map((span) => getComputedStyle(span).backgroundColor)"
    )
    assert len(set(colours)) == len(figures) - 1  # each part has its own; the total has none

    total = figures.pop("total")
    assert total == sum(figures.values())
    between = total - figures["microphone"] - figures["loudspeaker"]
    # The tail that is played after hanging up has no counterpart that was heard.
    end, late = min(heard_at + len(heard), played_at + len(played)), round(CALM * rate)
    latest = [heard[: end - heard_at][-late:], played[: end - played_at][-late:]]
    measured = int(np.argmax(lags(*latest)[: 3 * rate])) / rate * 1e3
    # What is heard repeats itself, so more than a period may be taken for less.
    period = (len(clip) / RATE + PAUSE) * 1e3
    assert (measured - between + period / 2) % period - period / 2 == pytest.approx(0, abs=40)


async def test_drawn_codes_equal_the_sent_codes(serving, open_page):
    """By keyboard alone."""
    call = await open_page(serving.url)
    for _ in range(2):  # the first stop is the switch, the second the button
        await call.page.keyboard.press("Tab")
    await call.begin("Enter")
    await call.draws(30)
    await call.page.keyboard.press("Space")
    await call.idle()
    drawn, sent = await call.picture(), np.array(call.codes(-1)).T
    shown = min(drawn.shape[1], sent.shape[1])
    assert shown >= 30
    np.testing.assert_array_equal(drawn[:, -shown:], sent[:, -shown:])
    numbers = await call.page.locator("#numbers li").all_text_contents()
    assert [int(number) for number in numbers] == sent[:, -1].tolist()

    assert call.complaints == []
    here = serving.url.replace("ws", "http", 1)
    assert all(request.startswith(here) for request in call.requests)


async def test_room_mic_is_heard_by_a_room_speaker(serving, open_page):
    listener, speaker = await open_page(serving.url), await open_page(serving.url)
    for call, mode in ((listener, "Room speaker"), (speaker, "Room mic")):
        await call.page.get_by_role("radio", name=mode).check()
        await call.page.get_by_label("Room", exact=True).fill("pages")
        await call.begin()
        await call.says("“pages”")
    await playwright.expect(listener.page.locator("#mute")).to_be_hidden()
    await playwright.expect(speaker.page.locator("#mute")).to_be_visible()
    heard = speaker.page.locator("#listeners")
    await playwright.expect(heard).to_have_text("One listener hears you.")
    await listener.draws(20)
    _, played, _ = await listener.recording("played")
    assert np.abs(played).max() > 0.02
    await speaker.hang_up()
    await listener.says("Waiting for the next one")
    await listener.says("Nobody is speaking there yet")
    await speaker.begin()
    await listener.says("You are listening to the room “pages”.")
    shown = len(listener.codes(-1))
    await listener.draws(shown + 20)
    await listener.hang_up()
    await playwright.expect(heard).to_have_text("Nobody listens yet.")
    await speaker.hang_up()
    await playwright.expect(heard).to_be_hidden()


async def test_a_room_mic_sees_the_codes_that_the_server_makes(serving, open_page):
    call = await open_page(serving.url)
    await call.page.get_by_role("radio", name="Room mic").check()
    await call.begin()
    await call.draws(20)
    await call.hang_up()
    drawn, made = await call.picture(), np.array(call.codes(-1)).T
    shown = min(drawn.shape[1], made.shape[1])
    np.testing.assert_array_equal(drawn[:, -shown:], made[:, -shown:])
    assert {each.kind for each in call.sent[-1]} == {Kind.PCM}


async def test_a_link_names_room_and_token(codec, open_page):
    """As from the QR code: https with a certificate of the server's own, another host name."""
    made = make_certificate(["page.local"])
    access = Access([Token("s3cret")])
    async with running(codec, max_sessions=1, tls=made.tls, access=access) as server:
        address = f"wss://page.local:{server.port}"
        options = {"ignore_https_errors": True}
        call = await open_page(address, link="#room=kitchen&token=s3cret", **options)
        await call.begin()
        await call.says("“kitchen”")
        await call.hang_up()
        other = await open_page(address, link="#token=wrong", **options)
        await playwright.expect(other.page.get_by_label("Token")).to_be_visible()
    assert call.complaints == []


class Echo:
    """A model that says what it hears, until it is interrupted."""

    interrupted: ClassVar[list[int]] = []

    def __init__(self, codec: Codec) -> None:
        self.quiet = False

    def open(self, session: str) -> None:
        pass

    def step(self, codes: np.ndarray) -> np.ndarray | None:
        return None if self.quiet else codes

    def clear(self, played: int) -> None:
        self.quiet = True
        self.interrupted.append(played)

    def close(self) -> None:
        pass


async def test_conversation_with_a_model_and_interruption(codec, serving, open_page):
    async with running(codec, max_sessions=2, duplex=Echo, limits=Limits(load=0)) as server:
        call = await open_page(server.url)
        await call.page.get_by_role("radio", name="Conversation").check()
        await call.begin()
        await call.says("the model listens")
        await call.draws(25)
        await playwright.expect(call.page.locator("#lane-model")).to_have_text("Echo")
        speaking = call.page.locator("#speaking")
        await playwright.expect(speaking).to_have_text("Both speak.")
        _, played, _ = await call.recording("played")
        assert np.abs(played).max() > 0.02
        figures = await call.figures()
        assert list(figures)[3:7] == ["network", "encode", "model", "decode"]
        assert figures["encode"] + figures["model"] + figures["decode"] > 0
        await call.page.get_by_role("button", name="Interrupt").click()
        bits = call.page.locator("#bits")
        await playwright.expect(bits).to_have_text("0")
        await playwright.expect(speaking).to_have_text("You speak.")
        assert len(Echo.interrupted) == 1
        assert Echo.interrupted[0] > 0
        _, played, rate = await call.recording("played")
        assert np.abs(played[-rate:]).max() < 0.01
        await call.hang_up()
    call = await open_page(serving.url)
    await playwright.expect(call.page.locator("#model")).to_contain_text("Model")  # of the server
    conversation = call.page.get_by_role("radio", name="Conversation")
    await playwright.expect(conversation).to_be_hidden()


async def test_mute_sends_silence(serving, open_page):
    call = await open_page(serving.url)
    await call.begin()
    await call.says("you hear yourself")
    mute = call.page.get_by_role("button", name="Mute")
    await mute.click()
    await playwright.expect(mute).to_have_attribute("aria-pressed", "true")
    before = len(call.codes(-1))
    await call.draws(before + 30)
    await call.hang_up()
    _, played, rate = await call.recording("played")
    assert np.abs(played[-rate // 2 :]).max() < 0.01


async def test_page_fits_a_phone_and_respects_reduced_motion(serving, open_page):
    call = await open_page(
        serving.url, viewport={"width": 390, "height": 844}, reduced_motion="reduce"
    )
    await call.begin()
    await call.draws(50)
    await call.hang_up()
    wide = await call.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    tops = await call.page.eval_on_selector_all(
        "#talk .modes label:not([hidden])",
        "all => all.map((each) => each.getBoundingClientRect().top)",
    )
    assert len(tops) == 3
    assert len(set(tops)) == 1  # three things to do, side by side
    drawn, sent = await call.picture(), np.array(call.codes(-1)).T
    columns, frames = drawn.shape[1], sent.shape[1]
    shown = range(frames - min(frames, columns - 1), frames)
    for frame in shown:  # each stays where it was drawn
        np.testing.assert_array_equal(drawn[:, frame % columns], sent[:, frame])
