"""The browser client's page in a real Chromium, as tests use it."""

from __future__ import annotations

import asyncio
import base64
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xyt_stream.audio import to_float32
from xyt_stream.protocol.messages import Kind, Media, decode
from xyt_stream.protocol.packing import unpack_codes

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
RATE = 16_000  # of the recording that it hears
PAUSE = 1.0  # seconds of silence between repetitions of it
PATIENCE = 400_000  # ms; the machine may be slow, and busy with something else

playwright.expect.set_options(timeout=PATIENCE)

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP page.local 127.0.0.1",
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


def frames_of(media: list[Media]) -> list[np.ndarray]:
    """The frames of codes in messages, each [codebooks]."""
    codes = [unpack_codes(each.payload, 8) for each in media if each.kind == Kind.CODES]
    return [frame for each in codes for frame in each.T]


def numbers_of(media: list[Media]) -> list[int]:
    """The numbers of the frames of codes in messages, which hold one or more each."""
    return [
        each.frame + later
        for each in media
        if each.kind == Kind.CODES
        for later in range(len(frames_of([each])))
    ]


def codes_of(sockets: list[list[Media]]) -> np.ndarray:
    """The codes of one session, [codebooks, frames], in however many connections it was sent."""
    frames: dict[int, np.ndarray] = {}
    for media in sockets:
        frames.update(zip(numbers_of(media), frames_of(media), strict=True))
    return np.array([frames[number] for number in sorted(frames)]).T


@dataclass
class OpenPage:
    """A page that is open in the browser, and all that went over its websockets.

    Attributes:
        page: playwright's.
        complaints: of the page, on the browser's console.
        requests: addresses that it asked for.
        sockets: for each websocket, the media that came.
        sent: likewise, the media that went.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sockets: list[list[Media]] = field(default_factory=list)
    sent: list[list[Media]] = field(default_factory=list)

    @classmethod
    async def open(
        cls,
        browser: Any,
        url: str,
        *,
        permissions: tuple[str, ...] = ("microphone",),
        link: str = "",
        **options: Any,
    ) -> OpenPage:
        """Opens the page of the server at a websocket's url; `options` are a context's.

        Args:
            link: the end of the address, from the # on.
        """
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = await browser.new_context(permissions=permissions, **options)
        for script in ("tap.js", "codec-tap.js"):
            await context.add_init_script(path=Path(__file__).parent / script)
        context.set_default_timeout(PATIENCE)
        page = await context.new_page()
        opened = cls(page)

        def connected(websocket: Any) -> None:
            came: list[Media] = []
            went: list[Media] = []
            opened.sockets.append(came)
            opened.sent.append(went)

            def keep(media: list[Media], data: str | bytes) -> None:
                message = decode(data)
                if isinstance(message, Media):
                    media.append(message)

            websocket.on("framereceived", partial(keep, came))
            websocket.on("framesent", partial(keep, went))

        page.on("websocket", connected)
        page.on("console", lambda message: opened.complaints.append(message.text))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("request", lambda request: opened.requests.append(request.url))
        await page.goto(f"{url.replace('ws', 'http', 1)}/{link}")
        return opened

    async def press(self) -> None:
        await self.page.click("#button")

    async def begin(self, key: str | None = None) -> None:
        """Starts a call and waits until it is live: a busy server refuses calls for a while.

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
        await playwright.expect(status).to_contain_text(text)

    async def draws(self, frames: int) -> None:
        """Waits until so many frames of codes have come on the latest websocket."""
        deadline = time.monotonic() + PATIENCE / 1e3
        while not self.sockets or len(self.codes(-1)) < frames:
            said = await self.page.inner_text("#status")
            assert time.monotonic() < deadline, (said, [len(media) for media in self.sockets])
            await asyncio.sleep(0.05)

    def codes(self, socket: int) -> list[np.ndarray]:
        """The frames of codes that came over a websocket, each [codebooks]."""
        return frames_of(self.sockets[socket])

    async def hang_up(self) -> None:
        """Stops, and waits until all is over."""
        await self.press()
        await self.idle()

    async def idle(self) -> None:
        button = self.page.locator("#button")
        await playwright.expect(button).to_have_attribute("data-state", "idle")

    async def recording(self, name: str) -> tuple[int, np.ndarray, int]:
        """(number of the first sample, float32 [samples], Hz) of what was tapped, see tap.js."""
        got = await self.page.evaluate("name => recording(name)", name)
        samples = to_float32(np.frombuffer(base64.b64decode(got["base64"]), "<i2"))
        return got["start"], samples, got["rate"]

    async def calm(self, seconds: float) -> bool:
        """Waits until for `seconds` there was no underrun and the latency did not change.

        On a busy machine it must grow first; on one that is too busy this does not come.
        """
        deadline = time.monotonic() + 10 * seconds
        before, since, frames = ("", 0), time.monotonic(), 0
        while time.monotonic() < since + seconds or len(self.codes(-1)) < frames + 12 * seconds:
            if time.monotonic() > deadline or len(self.sockets) > 1:
                return False
            await asyncio.sleep(0.2)
            dry = await self.page.get_attribute("#buffer", "data-underruns") or ""
            shown = await self.page.inner_text("#total")
            total = int(shown) if shown.isdecimal() else 0
            if dry != before[0] or abs(total - before[1]) > 40 or not total:
                before, since = (dry, total), time.monotonic()
                frames = len(self.codes(-1)) if total else 0
        return True

    async def figures(self) -> dict[str, int]:
        """Returns the figures that the page shows at one moment: ms by part, and "total"."""
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
