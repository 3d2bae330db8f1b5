"""Faults around the page in a real Chromium: its messages, and how it recovers."""

from __future__ import annotations

from contextlib import asynccontextmanager

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.server.admission.access import Access, Token
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from ..server.proxy import Proxy
from .page import chromium, numbers_of, playwright

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_lost_connection_is_resumed(serving, proxy, open_page):
    call = await open_page(proxy.url)
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
    frames = numbers_of(media)
    assert frames == list(range(len(frames)))
    drawn = await call.picture()
    sent = np.array(
        [codes for socket in range(len(call.sockets)) for codes in call.codes(socket)]
    ).T
    shown = min(drawn.shape[1], sent.shape[1])
    np.testing.assert_array_equal(drawn[:, -shown:], sent[:, -shown:])


@asynccontextmanager
async def successor(codec, open_page):
    """A call, its server, and the proxy between them, which leads to another server from now on.

    The call must begin anew there.
    """
    any_load = Limits(load=0)
    async with (
        running(codec, max_sessions=1, limits=any_load) as first,
        Proxy(first.port) as proxy,
    ):
        call = await open_page(proxy.url)
        await call.begin()
        await call.draws(5)
        async with running(codec, max_sessions=1, limits=any_load) as second:
            proxy.target = second.port
            yield call, first, proxy
            await call.says("a new call has begun")
            await call.draws(5)
            await call.hang_up()


async def test_server_restart_begins_a_new_session(codec, open_page):
    async with successor(codec, open_page) as (_, _, proxy):
        proxy.cut()


async def test_server_shutdown_begins_a_new_session_later(codec, open_page):
    async with successor(codec, open_page) as (call, first, _):
        await first.service.drain()
        await call.says("Connection lost, resuming")


async def test_permission_denied(serving, open_page):
    call = await open_page(serving.url, permissions=())
    await call.press()
    await call.says("Permission denied")
    await call.idle()
    assert call.sockets == []  # no slot is taken
    assert serving.engine.free_slots == 4


async def test_no_microphone(serving, open_page):
    async with chromium("--disable-audio-input") as deaf:
        call = await open_page(serving.url, browser=deaf)
        await call.press()
        await call.says("No microphone")
        await call.idle()


async def test_not_https(serving, open_page):
    call = await open_page(f"ws://page.local:{serving.port}", permissions=())
    await call.says("Not https")
    await call.press()
    await call.says("Not https")


async def test_server_busy(codec, open_page):
    async with running(codec, max_sessions=1) as server:
        async with connect(server.url, "encode"):
            call = await open_page(server.url)
            await call.press()
            await call.says("Server busy")
            await call.idle()
        await call.begin()
        await call.says("you hear yourself")


async def test_unreachable_server(codec, open_page):
    async with running(codec, max_sessions=1) as server:
        call = await open_page(server.url)
    await call.press()
    await call.says("There is no answer")


async def test_token_is_asked_for(codec, open_page):
    async with running(codec, max_sessions=1, access=Access([Token("s3cret")])) as server:
        call = await open_page(server.url)
        field = call.page.get_by_label("Token")
        await playwright.expect(field).to_be_visible()
        await field.fill("guess")
        await call.press()
        await call.says("requires a token")
        await playwright.expect(field).to_be_focused()
        await field.fill("s3cret")
        await call.page.keyboard.press("Enter")
        await call.says("you hear yourself")
        await playwright.expect(call.page.locator("#button")).to_be_focused()  # Enter ends it
