"""The page's own codec in a real Firefox."""

from __future__ import annotations

import pytest

from xyt_stream.server import page_codec
from xyt_stream.server.app import running

from .firefox import firefox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        page_codec.page_codec().missing is not None,
        reason="the page's WebAssembly runtime is not there: `make web` fetches it, with npm",
    ),
]


async def test_loopback_is_coded_in_firefox(pulse, tmp_path):
    async with running(None) as relay, firefox(tmp_path, pulse) as page:
        await page.open(relay.url)
        await page.until("document.getElementById('codec').value === 'here'")
        assert await page.evaluate("crossOriginIsolated")
        await page.evaluate("document.getElementById('button').click() ?? null")
        await page.until("document.getElementById('button').dataset.state === 'live'")
        # 28 bytes go and 24 come for each frame, and some more for pings.
        for way in ("sent", "received"):
            shown = f"document.getElementById('{way}').textContent"
            await page.until(f"Number({shown}) > 250 && Number({shown}) < 700")
        await page.until("Number(document.getElementById('bits').textContent) >= 900")
        await page.evaluate("document.getElementById('button').click() ?? null")
        await page.until("document.getElementById('button').dataset.state === 'idle'")
        assert await page.evaluate("document.getElementById('status').textContent") == ""
        assert page.complaints == []


async def test_the_slider_decodes_from_fewer_codebooks_in_firefox(pulse, tmp_path):
    """From one to all eight; all of it in the browser, for a relay has no codec."""
    async with running(None) as relay, firefox(tmp_path, pulse) as page:
        await page.open(relay.url)
        await page.until("document.getElementById('codec').value === 'here'")
        await page.evaluate("document.getElementById('sample').click() ?? null")
        await page.until("!document.getElementById('player').hidden")
        slider = "document.getElementById('codebooks')"
        for count in (*range(1, 9), 1):
            await page.evaluate(
                f"({slider}.value = {count}, {slider}.dispatchEvent(new Event('input')))"
            )
            said = "document.getElementById('comparing').textContent"
            await page.until(f"{said}.includes('({count} of 8 codebooks)')")
            assert await page.evaluate(f"{slider}.getAttribute('aria-valuetext')") == (
                f"{count} of 8: {125 * count:,} bits a second"
            )
        await page.evaluate("document.getElementById('play').click() ?? null")
        await page.until("document.getElementById('play').textContent === 'Pause'")
        assert page.complaints == []
