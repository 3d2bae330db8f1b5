"""The page in a real Firefox, driven by WebDriver BiDi over a websocket."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
ANSWER_SECONDS = 120.0  # until Firefox must have answered
PREFERENCES = {
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "media.autoplay.default": 0,
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,  # the microphone is a tone
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "remote.active-protocols": 1,  # BiDi
}


class FirefoxPage:
    """One page, as a user sees it.

    Attributes:
        complaints: of the page, on the browser's console.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._sent = 0
        self._context = ""

    async def open(self, url: str) -> None:
        """Opens the page of the server at a websocket's url."""
        await self._command("session.new", capabilities={})
        await self._command("session.subscribe", events=["log.entryAdded"])
        tree = await self._command("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]
        await self._command(
            "browsingContext.navigate",
            context=self._context,
            url=url.replace("ws", "http", 1) + "/",
            wait="complete",
        )

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = await self._command(
            "script.evaluate",
            expression=f"JSON.stringify({expression})",
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        assert result["type"] == "success", result
        return json.loads(result["result"]["value"])

    async def until(self, expression: str, seconds: float = 120.0) -> None:
        """Waits until an expression is true in the page."""

        deadline = time.monotonic() + seconds
        while not await self.evaluate(f"Boolean({expression})"):
            said = await self.evaluate("document.getElementById('status').textContent")
            assert time.monotonic() < deadline, said
            await asyncio.sleep(0.1)

    async def _command(self, method: str, **params: Any) -> Any:
        self._sent += 1
        await self._socket.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            answer = json.loads(await asyncio.wait_for(self._socket.recv(), ANSWER_SECONDS))
            if answer.get("method") == "log.entryAdded":
                self.complaints.append(str(answer["params"]["text"]))
            elif answer.get("id") == self._sent:
                assert answer["type"] == "success", answer
                return answer["result"]


@asynccontextmanager
async def firefox(folder: Path, env: dict[str, str]) -> AsyncIterator[FirefoxPage]:
    """A Firefox with a new profile in `folder`; `env` names a sound server for it."""
    if FIREFOX is None:
        pytest.skip("no Firefox is installed")
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in PREFERENCES.items()]
    (folder / "user.js").write_text("".join(lines))
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(folder)]
    log = folder / "log"
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            *("--remote-debugging-port", "0"),
            env={**os.environ, **env, "HOME": str(folder)},
            stdout=output,
            stderr=output,
        )
    try:
        async with connect(f"{await _address(log)}/session", max_size=None) as socket:
            yield FirefoxPage(socket)
    finally:
        process.kill()
        await process.wait()


async def _address(log: Path) -> str:
    """The address that Firefox prints once it can be driven."""
    for _ in range(1200):
        said = await asyncio.to_thread(log.read_text)
        if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", said):
            return found[1]
        await asyncio.sleep(0.1)
    pytest.skip(f"this Firefox has no WebDriver BiDi, or does not start: {said}")
