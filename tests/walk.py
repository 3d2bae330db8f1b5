"""Walks through the first hour as a newcomer does, in a real terminal and a real browser.

    python tests/walk.py FOLDER

The machine is kept busy on purpose. The time of each command is printed, and pictures of the page
and the terminals' output are written into FOLDER, to be looked at.
"""

from __future__ import annotations

import multiprocessing
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright
from terminal import in_terminal

CLIP = Path(__file__).parents[1] / "demos" / "speech.flac"
COMMAND = (sys.executable, "-m", "xyt_stream.cli")
BURNERS = 2  # processes that compute beside everything
PATIENCE = 120_000  # ms
FLAGS = (
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
SIZES = {"phone": (360, 740), "tablet": (768, 1024), "desktop": (1440, 900)}  # CSS pixels


def burn() -> None:
    """Computes for ever."""
    while True:
        pass


@contextmanager
def busy() -> Iterator[None]:
    """Keeps the machine busy while the block runs."""
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(BURNERS)]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


class Walk:
    """A walk that prints how long each step takes.

    Args:
        folder: for pictures and what terminals showed.

    Attributes:
        speech: the WAV that `files` writes, which the browser's microphone hears.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.speech = folder / "c.wav"

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Prints the seconds that the block takes."""
        began = time.monotonic()
        yield
        print(f"{time.monotonic() - began:7.2f} s  {name}", flush=True)

    def run(self, *arguments: str, shows: str) -> None:
        """Runs a command in a terminal until it shows a text."""
        with (
            self.step("xyt-stream " + " ".join(arguments)),
            in_terminal(*COMMAND, *arguments) as terminal,
        ):
            self.keep(arguments[0], terminal.read_until(shows))

    def keep(self, name: str, text: str) -> None:
        """Writes what a terminal showed."""
        with (self._folder / "terminal.txt").open("a") as file:
            file.write(f"=== {name}\n{text}\n")

    def picture(self, page: Page, name: str) -> None:
        """Takes a picture of a whole page, and writes what a screen reader has of it."""
        page.screenshot(path=self._folder / f"{name}.png", full_page=True)
        (self._folder / f"{name}.yml").write_text(page.locator("body").aria_snapshot())


def refusals(walk: Walk, folder: Path) -> None:
    """The mistakes that a newcomer makes."""
    walk.run("roundtrip", "nothere.wav", str(folder / "a.wav"), shows="Error:")
    walk.run("encode", str(CLIP), str(folder / "a.wav"), shows="Error:")
    walk.run("serve", "--host", "0.0.0.0", shows="Error:")
    walk.run("serve", "--lookahead", "1", shows="Error:")
    walk.run("serve", "--device", "gpu", shows="Error:")
    walk.run("mic", "--url", "http://localhost", shows="Error:")


def files(walk: Walk, folder: Path) -> None:
    """From file to file, without a server."""
    walk.run("info", shows="bits a second")
    walk.run("encode", str(CLIP), str(folder / "a.xyt"), shows="bytes")
    walk.run("decode", str(folder / "a.xyt"), str(folder / "b.wav"), shows="Hz")
    walk.run("roundtrip", str(CLIP), str(folder / "c.wav"), shows="Hz")


def rooms(walk: Walk, folder: Path, url: str) -> None:
    """A mic, a speaker and a loopback in terminals."""
    out = ("--output", str(folder / "heard.wav"))
    with in_terminal(*COMMAND, "play", "--url", url, *out) as speaker:
        speaker.read_until("nobody speaks")
        walk.run("mic", "--url", url, "--input", str(CLIP), shows="bits a second sent")
        walk.keep("play", speaker.read_until("sound written to"))
    walk.run("loopback", "--url", url, "--input", str(CLIP), *out, shows="output")


def page_at(browser: Browser, address: str, size: str, scheme: Any) -> Page:
    """The page in a window of its own."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        permissions=["microphone"],
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(address)
    return page


def talk(walk: Walk, browser: Browser, address: str) -> None:
    """Loopback by keyboard alone, a room, and the comparison."""
    page = page_at(browser, address, "desktop", "light")
    with walk.step("page: until the codes are drawn"):
        for key in ("Tab", "Tab", "Enter"):
            page.keyboard.press(key)
        expect(page.locator("#bits")).to_have_text(re.compile(r"\d"), timeout=PATIENCE)
    page.wait_for_timeout(6000)  # the pictures fill
    walk.picture(page, "loopback")
    page.keyboard.press("Enter")
    expect(page.locator("#button")).to_have_attribute("data-state", "idle", timeout=PATIENCE)
    with walk.step("page: until the sample is decoded"):
        page.get_by_role("button", name="Use a sample").click()
        expect(page.locator("#player")).to_be_visible(timeout=PATIENCE)
    with walk.step("page: until it is decoded from one codebook"):
        page.get_by_label("Codebooks").press("Home")
        expect(page.locator("#comparing")).to_contain_text("(1 of 8", timeout=PATIENCE)
    walk.picture(page, "comparison")
    page.get_by_role("radio", name="Room mic").check()
    page.locator("#button").click()
    expect(page.locator("#listeners")).to_have_text("Nobody listens yet.", timeout=PATIENCE)
    walk.picture(page, "mic")
    listener = page_at(browser, address, "phone", "dark")
    listener.get_by_role("radio", name="Room speaker").check()
    listener.locator("#button").click()
    expect(page.locator("#listeners")).to_contain_text("One listener", timeout=PATIENCE)
    expect(listener.locator("#bits")).to_have_text(re.compile(r"\d"), timeout=PATIENCE)
    walk.picture(listener, "speaker-phone-dark")
    walk.picture(page, "mic-heard")


def browse(walk: Walk, address: str) -> None:
    """The page in all sizes and colours, and in use."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    sound = f"--use-file-for-fake-audio-capture={walk.speech}"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[*FLAGS, sound])
        for size in SIZES:
            for scheme in ("light", "dark"):
                page = page_at(browser, address, size, scheme)
                page.wait_for_load_state("networkidle")
                wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
                assert not wide, f"the page is wider than a {size}"
                walk.picture(page, f"{size}-{scheme}")
                page.context.close()
        talk(walk, browser, address)
        browser.close()


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "terminal.txt").unlink(missing_ok=True)
    walk = Walk(folder)
    with busy():
        refusals(walk, folder)
        files(walk, folder)
        with in_terminal(*COMMAND, "serve", "--port", "0", "--max-load", "0") as server:
            with walk.step("xyt-stream serve"):
                text = server.read_until("Ctrl-C stops.")
            walk.keep("serve", text)
            found = re.search(r"http://localhost:(\d+)/", text)
            assert found is not None
            rooms(walk, folder, f"ws://localhost:{found[1]}")
            browse(walk, found.group())
            assert server.interrupt() == 0
    print(f"Look at the pictures in {folder}.")


if __name__ == "__main__":
    main()
