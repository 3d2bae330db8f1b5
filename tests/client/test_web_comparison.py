"""Original and decoded sound at a switch on the page, and both as files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xyt_stream.audio import to_int16
from xyt_stream.protocol.code_file import CodeFile
from xyt_stream.server import pages

from .page import playwright

SAMPLE = Path(__file__).parents[2] / "client" / "web" / "sample.flac"

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def saved(page, link, path):
    async with page.expect_download() as download:
        await page.click(link)
    await (await download.value).save_as(path)
    return path


async def test_the_sample_is_coded_compared_and_downloaded(codec, serving, open_page, tmp_path):
    call = await open_page(serving.url)
    page = call.page
    await page.get_by_role("button", name="Use a sample").click()
    play = page.get_by_role("button", name="Play", exact=True)
    await playwright.expect(play).to_be_visible()
    await playwright.expect(page.locator("#comparing")).to_contain_text("bytes of codes")
    sounds = {}
    for name in ("original", "decoded"):
        file = await saved(page, f"#{name}-file", tmp_path / f"{name}.wav")
        sounds[name], rate = soundfile.read(file, dtype="float32")
        assert rate == 16_000
    file = CodeFile.read(await saved(page, "#codes-file", tmp_path / "codes.xyt"))
    file.require_model(codec.name, codec.hash)
    assert len(sounds["original"]) == len(sounds["decoded"]) == file.original_samples
    expected = codec.encode(sounds["original"], pad=True).numpy()
    assert file.codes.shape == expected.shape
    assert file.original_samples == soundfile.info(SAMPLE).frames  # however slow the machine is
    np.testing.assert_array_equal(file.codes, expected)

    await play.click()
    await playwright.expect(page.get_by_role("button", name="Pause")).to_be_visible()
    await page.get_by_label("decoded").check()
    await page.get_by_label("Blind").check()
    await playwright.expect(page.get_by_label("A", exact=True)).to_have_count(1)
    await page.get_by_role("button", name="Which is which?").click()
    await playwright.expect(page.locator("#player .modes")).to_contain_text("original")
    await page.get_by_role("button", name="Pause").click()
    assert call.complaints == []


def needs_runtime(choice):
    runtime = Path(SAMPLE).parent / "runtime" / "runtime.json"
    return pytest.param(
        choice, marks=pytest.mark.skipif(not runtime.exists(), reason="make web was not run")
    )


@pytest.mark.parametrize("place", ["server", needs_runtime("here")])
async def test_fewer_codebooks_are_decoded_again(
    codec, serving, open_page, tmp_path, monkeypatch, place
):
    kind, choice = pages._FILES["/codec_choice.js"]
    patient = choice.replace(b"BUDGET = 0.6", b"BUDGET = 1e9")  # the machine may be busy
    monkeypatch.setitem(pages._FILES, "/codec_choice.js", (kind, patient))
    call = await open_page(serving.url)
    page = call.page
    await page.get_by_label("Codec").select_option(place)
    await page.get_by_role("button", name="Use a sample").click()
    slider, bits = page.get_by_label("Codebooks"), page.locator("#codebooks-bits")
    await playwright.expect(bits).to_have_text("8 of 8: 1,000 bits a second")
    await page.get_by_role("button", name="Play", exact=True).click()
    for key in ("Home", "ArrowRight", "ArrowRight"):  # it moves on while the first is decoded
        await slider.press(key)
    await playwright.expect(bits).to_have_text("3 of 8: 375 bits a second")
    heard = page.locator("#comparing")
    await playwright.expect(heard).to_contain_text("(3 of 8 codebooks)")
    file = CodeFile.read(await saved(page, "#codes-file", tmp_path / "codes.xyt"))
    file.require_model(codec.name, codec.hash)
    assert len(file.codes) == 3
    sound, rate = soundfile.read(
        await saved(page, "#decoded-file", tmp_path / "decoded.wav"), dtype="int16"
    )
    expected = to_int16(codec.decode(file.codes).numpy())[: len(sound)]
    assert rate == codec.output_rate
    assert np.abs(sound.astype(int) - expected).max() <= 8
    await playwright.expect(page.get_by_role("button", name="Pause")).to_be_visible()
    await slider.press("End")
    await playwright.expect(heard).to_contain_text("(8 of 8 codebooks)")
    assert call.complaints == []


async def test_ten_seconds_of_the_microphone_may_be_stopped_early(serving, open_page):
    call = await open_page(serving.url)
    page = call.page
    await page.get_by_role("button", name="Record ten seconds").click()
    await playwright.expect(page.locator("#comparing")).to_have_text(re.compile("Speak: [0-8] s"))
    await page.get_by_role("button", name="Stop").click()
    await playwright.expect(page.locator("#comparing")).to_contain_text("bytes of codes")
    assert call.complaints == []
