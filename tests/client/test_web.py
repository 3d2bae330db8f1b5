"""The page in a real Chromium that hears a recording: what it plays, draws and says."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import pytest_asyncio
import soundfile

from xyt_stream import Codec
from xyt_stream.audio import Pcm16, resample, to_float32
from xyt_stream.client import connect
from xyt_stream.protocol.messages import Kind, Media, read
from xyt_stream.protocol.packing import unpack_codes
from xyt_stream.server import web
from xyt_stream.server.access import Access, Token
from xyt_stream.server.app import Running, running

from ..server.proxy import Proxy

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
stoi = pytest.importorskip("pystoi", reason="pystoi is not installed").stoi

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 90_000  # ms; the machine may be busy with something else
RATE = 16_000
PAUSE = 1.0  # seconds of silence between repetitions of the clip
CALM = 6.5  # seconds that hold a whole repetition, and all that the figures are made of

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP page.test 127.0.0.1",
)


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(clip: Pcm16, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """Its microphone hears the clip again and again."""
    speech = tmp_path_factory.mktemp("web") / "speech.wav"
    sound = resample(np.pad(to_float32(clip), (0, round(PAUSE * RATE))), RATE, 48_000)
    soundfile.write(speech, sound, 48_000, subtype="PCM_16")
    async with chromium(
        "--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={speech}"
    ) as browser:
        yield browser


@dataclass
class Visit:
    """A page, and all that went over its websockets.

    Attributes:
        page: playwright's.
        complaints: of the page, on the browser's console.
        requests: addresses that it asked for.
        sockets: for each websocket, the media that came.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sockets: list[list[Media]] = field(default_factory=list)

    async def press(self) -> None:
        await self.page.click("#button")

    async def begin(self, key: str | None = None) -> None:
        """A call that goes well: a server on a busy machine may let nobody in for a while.

        Args:
            key: to be pressed where the focus is; None: the button is clicked.
        """
        deadline = time.monotonic() + PATIENCE / 1e3
        press = self.press if key is None else lambda: self.page.keyboard.press(key)
        await press()
        while (state := await self.page.get_attribute("#button", "data-state")) != "live":
            said = await self.page.inner_text("#status")
            assert time.monotonic() < deadline, said
            if state == "idle":
                assert "Server busy" in said
                await press()
            await asyncio.sleep(0.2)

    async def says(self, text: str) -> None:
        status = self.page.locator("#status")
        await playwright.expect(status).to_contain_text(text, timeout=PATIENCE)

    async def draws(self, frames: int) -> None:
        """Waits until so many frames of codes have come on the latest websocket."""
        deadline = time.monotonic() + PATIENCE / 1e3
        while not self.sockets or len(self.codes(-1)) < frames:
            said = await self.page.inner_text("#status")
            assert time.monotonic() < deadline, (said, [len(media) for media in self.sockets])
            await asyncio.sleep(0.05)

    def codes(self, socket: int) -> list[np.ndarray]:
        """The frames of codes that came over a websocket, each [codebooks]."""
        media = [each for each in self.sockets[socket] if each.kind == Kind.CODES]
        return [codes for each in media for codes in unpack_codes(each.payload, 8).T]

    async def hang_up(self) -> None:
        """Stops, and waits until all is over."""
        await self.press()
        await self.idle()

    async def idle(self) -> None:
        button = self.page.locator("#button")
        await playwright.expect(button).to_have_attribute("data-state", "idle", timeout=PATIENCE)

    async def recording(self, name: str) -> tuple[int, np.ndarray, int]:
        """(number of the first sample, float32 [samples], Hz) of what was tapped, see tap.js."""
        got = await self.page.evaluate("name => recording(name)", name)
        rate = await self.page.evaluate("() => new AudioContext().sampleRate")
        return got["start"], to_float32(np.frombuffer(base64.b64decode(got["base64"]), "<i2")), rate

    async def calm(self, seconds: float) -> bool:
        """Waits until for so long the jitter buffer has not run dry, nor the latency changed.

        On a busy machine it must grow first; on one that is too busy this does not come.
        """
        deadline = time.monotonic() + 5 * seconds
        before, since, frames = ("", 0), time.monotonic(), 0
        while time.monotonic() < since + seconds or len(self.codes(-1)) < frames + 12 * seconds:
            if time.monotonic() > deadline or len(self.sockets) > 1:
                return False
            await asyncio.sleep(0.2)
            dry = (await self.page.inner_text("#buffer")).partition("; ")[2]
            shown = await self.page.inner_text("#total")
            total = int(shown) if shown.isdecimal() else 0
            if dry != before[0] or abs(total - before[1]) > 40 or not total:
                before, since = (dry, total), time.monotonic()
                frames = len(self.codes(-1)) if total else 0
        return True

    async def figures(self) -> dict[str, int]:
        """What is shown at one moment: ms by part, and "total"."""
        shown: dict[str, str] = await self.page.evaluate(
            """() => {
              const text = (element) => element.textContent;
              const parts = [...document.querySelectorAll('#parts div')];
              const total = document.getElementById('total');
              const rows = parts.map((row) => [...row.children].map(text));
              return Object.fromEntries([...rows, ['total', text(total)]]);
            }"""
        )
        return {name: int(text.removesuffix(" ms")) for name, text in shown.items()}

    async def picture(self) -> np.ndarray:
        """The codes that can be seen, read back from the picture's pixels: int64 [8, columns]."""
        return np.array(
            await self.page.evaluate(
                """async () => {
                  const { colourOf } = await import('/picture.js');
                  const canvas = document.getElementById('picture');
                  const { width, height } = canvas;
                  const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
                  return Array.from({ length: 8 }, (_, row) => {
                    const codes = Array.from({ length: 1024 }, (_, code) => code);
                    const known = new Map(codes.map((code) => [colourOf(row, code).join(), code]));
                    return Array.from({ length: Math.floor(width / 8) }, (_, column) => {
                      const y = Math.round(((row + 0.5) * height) / 8);
                      const at = 4 * (y * width + column * 8 + 3);
                      return known.get(data.slice(at, at + 3).join()) ?? -1;
                    });
                  });
                }"""
            )
        )


@pytest.fixture(scope="module", autouse=True)
def tap() -> Iterator[None]:
    """A worklet of the tests' own: browsers let nobody stand in between for it but the server."""
    with pytest.MonkeyPatch.context() as patch:
        tap = (HERE / "tap-worklet.js").read_bytes()
        patch.setitem(web._FILES, "/tap-worklet.js", ("text/javascript", tap))
        yield


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Any) -> AsyncIterator[Callable[..., Any]]:
    """Opens the page of a server."""
    contexts = []

    async def visit(
        url: str,
        permissions: tuple[str, ...] = ("microphone",),
        browser: Any = browser,
        **options: Any,
    ) -> Visit:
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = await browser.new_context(permissions=permissions, **options)
        contexts.append(context)
        await context.add_init_script(path=HERE / "tap.js")
        page = await context.new_page()
        visit = Visit(page)

        def connected(websocket: Any) -> None:
            media: list[Media] = []
            visit.sockets.append(media)

            def came(data: str | bytes) -> None:
                message = read(data)
                if isinstance(message, Media):
                    media.append(message)

            websocket.on("framereceived", came)

        page.on("websocket", connected)
        page.on("console", lambda message: visit.complaints.append(message.text))
        page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        page.on("request", lambda request: visit.requests.append(request.url))
        await page.goto(url.replace("ws", "http", 1) + "/")
        return visit

    yield visit
    for context in contexts:
        await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(codec: Codec) -> AsyncIterator[Running]:
    async with running(codec, max_sessions=4) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(serving: Running) -> AsyncIterator[Proxy]:
    async with Proxy(serving.port) as proxy:
        yield proxy


def lags(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How well they agree if `second` comes so many samples later; at the end, earlier."""
    size = 1 << (len(first) + len(second)).bit_length()
    return np.fft.irfft(np.fft.rfft(second, size) * np.conj(np.fft.rfft(first, size)), size)


def intelligibility(clip: np.ndarray, sound: np.ndarray) -> float:
    """STOI of the best repetition of `clip`: the jitter buffer may have given up 20 ms of another.

    A codec does not keep phases, so waveforms agree best somewhere near the place, and STOI there.
    """
    scores, left = [], sound.copy()
    for _ in range(3):
        near = int(np.argmax(lags(clip, left)[: len(sound) - len(clip)]))
        places = range(max(0, near - 320), min(near + 320, len(sound) - len(clip)), 40)
        scores += [stoi(clip, sound[at : at + len(clip)], RATE) for at in places]
        left[near : near + len(clip)] = 0
    return max(scores)


async def test_one_hears_oneself_through_the_codec(serving, visit, clip, direct):
    """What is played is as good as what the codec makes without any wire; the latency is true."""
    call = await visit(serving.url)
    await call.begin()
    if not await call.calm(CALM):
        if os.getloadavg()[0] > (os.cpu_count() or 1):
            pytest.skip("this machine is too busy for live sound")
        pytest.fail("the sound does not come to rest")
    thousand = re.compile(r"^(9[5-9]0|10[0-5]0)$")
    await playwright.expect(call.page.locator("#bits")).to_have_text(thousand, timeout=PATIENCE)
    figures = await call.figures()
    await call.hang_up()
    heard_at, heard, rate = await call.recording("heard")
    played_at, played, _ = await call.recording("played")

    clean = to_float32(clip)
    expected = stoi(clean, to_float32(direct.sound), RATE)
    assert intelligibility(clean, resample(played, rate, RATE)) > expected - 0.03
    assert expected > 0.6

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


async def test_what_is_drawn_is_what_was_sent(serving, visit):
    """By keyboard alone."""
    call = await visit(serving.url)
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


async def test_a_lost_connection_is_resumed(serving, proxy, visit):
    call = await visit(proxy.url)
    await call.begin()
    await call.draws(10)
    proxy.refuses = True
    proxy.cut()
    await call.says("Connection lost, resuming")
    proxy.refuses = False
    await call.says("The connection is back: the call goes on.")
    await call.draws(10)
    await call.hang_up()
    media = [each for socket in call.sockets for each in socket]
    assert [each.seq for each in media] == list(range(len(media)))
    frames = [each.frame for each in media if each.kind == Kind.CODES]
    assert frames == list(range(len(frames)))
    drawn = await call.picture()
    sent = np.array(
        [codes for socket in range(len(call.sockets)) for codes in call.codes(socket)]
    ).T
    shown = min(drawn.shape[1], sent.shape[1])
    np.testing.assert_array_equal(drawn[:, -shown:], sent[:, -shown:])


async def test_after_a_restart_a_new_call_begins(codec, visit):
    async with running(codec, max_sessions=1) as first, Proxy(first.port) as proxy:
        call = await visit(proxy.url)
        await call.begin()
        await call.draws(10)
        async with running(codec, max_sessions=1) as second:
            proxy.target = second.port
            proxy.cut()
            await call.says("a new call has begun")
            await call.draws(10)
            await call.hang_up()
    assert call.codes(-1)


async def test_a_server_that_stops_in_order_is_waited_for(codec, visit):
    async with running(codec, max_sessions=1) as first, Proxy(first.port) as proxy:
        call = await visit(proxy.url)
        await call.begin()
        await call.draws(5)
        async with running(codec, max_sessions=1) as second:
            proxy.target = second.port
            await first.service.drain()
            await call.says("Connection lost, resuming")
            await call.says("a new call has begun")
            await call.draws(5)
            await call.hang_up()


async def test_permission_denied(serving, visit):
    call = await visit(serving.url, permissions=())
    await call.press()
    await call.says("Permission denied")
    await call.idle()
    assert call.sockets == []  # nobody's slot is taken
    assert serving.engine.free_slots == 4


async def test_no_microphone(serving, visit):
    async with chromium("--disable-audio-input") as deaf:
        call = await visit(serving.url, browser=deaf)
        await call.press()
        await call.says("No microphone")
        await call.idle()


async def test_not_https(serving, visit):
    call = await visit(f"ws://page.test:{serving.port}", permissions=())
    await call.says("Not https")
    await call.press()
    await call.says("Not https")


async def test_server_busy(codec, visit):
    async with running(codec, max_sessions=1) as server:
        async with connect(server.url, "encode"):
            call = await visit(server.url)
            await call.press()
            await call.says("Server busy")
            await call.idle()
        await call.begin()
        await call.says("you hear yourself")


async def test_nobody_answers(codec, visit):
    async with running(codec, max_sessions=1) as server:
        call = await visit(server.url)
    await call.press()
    await call.says("There is no answer")


async def test_a_token_is_asked_for(codec, visit):
    async with running(codec, max_sessions=1, access=Access([Token("s3cret")])) as server:
        call = await visit(server.url)
        field = call.page.get_by_label("Token")
        await playwright.expect(field).to_be_visible()
        await field.fill("guess")
        await call.press()
        await call.says("wants a token")
        await playwright.expect(field).to_be_focused()
        await field.fill("s3cret")
        await call.page.keyboard.press("Enter")
        await call.says("you hear yourself")


async def test_one_page_speaks_and_another_listens(serving, visit):
    listener, speaker = await visit(serving.url), await visit(serving.url)
    for call, mode in ((listener, "Room speaker"), (speaker, "Room mic")):
        await call.page.get_by_role("radio", name=mode).check()
        await call.page.get_by_label("Room", exact=True).fill("pages")
        await call.begin()
        await call.says("“pages”")
    await listener.draws(20)
    _, played, _ = await listener.recording("played")
    assert np.abs(played).max() > 0.02
    await speaker.hang_up()
    await listener.idle()
    await listener.says("has left the room")


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


async def test_one_talks_with_a_model_and_interrupts_it(codec, serving, visit):
    async with running(codec, max_sessions=2, duplex=Echo) as server:
        call = await visit(server.url)
        await call.page.get_by_role("radio", name="Conversation").check()
        await call.begin()
        await call.says("the model listens")
        await call.draws(25)
        _, played, _ = await call.recording("played")
        assert np.abs(played).max() > 0.02
        assert (await call.figures())["encode, model, decode"] > 0
        await call.page.get_by_role("button", name="Interrupt").click()
        bits = call.page.locator("#bits")
        await playwright.expect(bits).to_have_text("0", timeout=PATIENCE)
        assert len(Echo.interrupted) == 1
        assert Echo.interrupted[0] > 0
        _, played, rate = await call.recording("played")
        assert np.abs(played[-rate:]).max() < 0.01
        await call.hang_up()
    call = await visit(serving.url)
    await playwright.expect(call.page.get_by_text("Model")).to_be_visible()  # it knows the server
    conversation = call.page.get_by_role("radio", name="Conversation")
    await playwright.expect(conversation).to_be_hidden()


async def test_muted_it_sends_silence(serving, visit):
    call = await visit(serving.url)
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


async def test_it_fits_a_phone_and_keeps_still_where_that_is_wanted(serving, visit):
    call = await visit(serving.url, viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    await call.begin()
    await call.draws(50)
    await call.hang_up()
    wide = await call.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    drawn, sent = await call.picture(), np.array(call.codes(-1)).T
    columns, frames = drawn.shape[1], sent.shape[1]
    shown = range(frames - min(frames, columns - 1), frames)
    for frame in shown:  # each stays where it was drawn
        np.testing.assert_array_equal(drawn[:, frame % columns], sent[:, frame])
