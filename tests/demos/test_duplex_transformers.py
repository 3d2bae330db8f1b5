"""A random causal LM of `transformers` at the duplex endpoint."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from xyt_stream.client import connect
from xyt_stream.delay import delay, undelay
from xyt_stream.protocol.machine import Codes

if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers is not installed", allow_module_level=True)
sys.path.insert(0, str(Path(__file__).parents[2] / "demos"))
import duplex_transformers
from duplex_transformers import ANSWERED, HEARD, InGrid, SpeechLM


@pytest.fixture(scope="module")
def lm():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return SpeechLM.small()


@torch.inference_mode()
def likeliest(lm, codes):
    """The answer to codes [codebooks, frames], row by row from the whole past, without a cache."""
    ids = torch.from_numpy(delay(codes).T.copy())
    prompt = ids.shape[1]
    allowed = InGrid(prompt, ANSWERED)
    while ids.shape[1] < prompt + ANSWERED + 7:
        row = allowed(ids, lm(ids).logits[:, -1]).argmax(1)
        ids = torch.cat([ids, row[:, None]], dim=1)
    return undelay(ids[:, prompt:].T.numpy())


async def test_generated_speech_is_heard_in_the_room(lm, server, clip, direct, hear):
    conversing = asyncio.create_task(duplex_transformers.converse(lm, server.url, "lm"))
    async with connect(server.url, "user", room="lm", receive=("codes",)) as user:
        await user.send_pcm(np.concatenate([clip, np.zeros(60 * 1280, np.int16)]))
        await user.end()
        heard = await hear(user)
    await asyncio.wait_for(conversing, 60)
    said = likeliest(lm, direct.codes[:, :HEARD])
    assert len(np.unique(said)) > 8
    np.testing.assert_array_equal(heard.codes[:, :ANSWERED], said)


async def test_endless_speech_is_heard_at_once_and_can_be_interrupted(
    lm, server, clip, monkeypatch
):
    monkeypatch.setattr(duplex_transformers, "ANSWERED", 100_000)
    conversing = asyncio.create_task(duplex_transformers.converse(lm, server.url, "lm"))
    async with connect(server.url, "user", room="lm", receive=("codes",)) as user:
        await user.send_pcm(clip)
        events = aiter(user)
        while not isinstance(await anext(events), Codes):
            pass
        await user.clear()
        await user.end()
        async for _ in events:
            pass
    await asyncio.wait_for(conversing, 60)
