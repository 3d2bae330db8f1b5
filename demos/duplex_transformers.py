"""Runs a causal language model of `transformers` in a room: its output is heard as it comes.

    pip install -e '.[torch]' 'transformers>=5.24'
    xyt-stream serve
    python demos/duplex_transformers.py --room lm
    xyt-stream talk --room lm

The model hears two seconds of the user and answers in three; its weights are random, so it babbles.
It reads and writes the token grid of MOSS-TTSD (`xyt_stream.delay`): put such a model in its place.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

try:
    import torchaudio  # noqa: F401
except (ImportError, OSError):
    # transformers imports it where it is installed, even if its build does not go with torch's.
    sys.modules["torchaudio"] = None

try:
    from transformers import (
        Cache,
        GenerationMixin,
        LogitsProcessor,
        PreTrainedModel,
        Qwen3Config,
        Qwen3Model,
        StoppingCriteria,
    )
    from transformers.generation.streamers import BaseStreamer
    from transformers.modeling_outputs import CausalLMOutputWithPast
except ModuleNotFoundError:
    sys.exit("Error: this needs transformers: pip install 'transformers>=5.24'")

from xyt_stream.client import Connection, connect
from xyt_stream.delay import PLAIN, Delayer, Undelayer
from xyt_stream.errors import XYTError
from xyt_stream.protocol.machine import Codes
from xyt_stream.protocol.messages import Cleared

HEARD = 25  # frames of the user's that one answer is to
ANSWERED = 38  # frames of an answer
PAD = PLAIN.codebook_size  # in every column


class SpeechLM(PreTrainedModel, GenerationMixin):
    """A causal model over the token grid, as MOSS-TTSD's: a row's embeddings are added up.

    To `generate` each codebook is one sequence of a batch, so that ids are [codebooks, rows].
    """

    config_class = Qwen3Config

    def __init__(self, config: Qwen3Config) -> None:
        super().__init__(config)
        self.model = Qwen3Model(config)
        shape = config.vocab_size, config.hidden_size
        self.embeddings = nn.ModuleList(nn.Embedding(*shape) for _ in range(PLAIN.codebooks))
        self.heads = nn.ModuleList(nn.Linear(*shape[::-1]) for _ in range(PLAIN.codebooks))
        self.post_init()

    @classmethod
    def small(cls) -> SpeechLM:
        """A model of 0.7 M parameters, all of them random."""
        config = Qwen3Config(
            vocab_size=PAD + 1,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
            initializer_range=0.3,
        )
        return cls(config).eval()

    def forward(self, input_ids: Tensor, cache: Cache | None = None, **_: Any) -> Any:
        """Ids, int64 [codebooks, rows] -> logits [codebooks, rows, vocab_size]."""
        embedded = sum(embed(ids) for embed, ids in zip(self.embeddings, input_ids, strict=True))
        out = self.model(inputs_embeds=embedded[None], cache=cache, use_cache=True)
        logits = torch.cat([head(out.last_hidden_state) for head in self.heads])
        return CausalLMOutputWithPast(logits=logits, cache=out.cache)


class InGrid(LogitsProcessor):
    """Lets each codebook have codes where the answer's frames are, and pads before and after."""

    def __init__(self, prompt: int, frames: int) -> None:
        self.prompt, self.frames = prompt, frames
        self.delays = torch.tensor(PLAIN.delays)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        frame = input_ids.shape[1] - self.prompt - self.delays
        coded = ((frame >= 0) & (frame < self.frames))[:, None]
        allowed = (torch.arange(scores.shape[1]) == PAD) ^ coded
        return scores.masked_fill(~allowed, -torch.inf)


class CodeStreamer(BaseStreamer):
    """Gives each frame to `hear`, int64 [codebooks, 1], as soon as it is complete."""

    def __init__(self, hear: Callable[[Any], Any]) -> None:
        self.hear = hear
        self.undelayer: Undelayer | None = None

    def put(self, value: Tensor) -> None:
        if self.undelayer is None:  # the first value is the prompt
            self.undelayer = Undelayer()
        elif (codes := self.undelayer.push(value[None].numpy())).size:
            self.hear(codes)

    def end(self) -> None: ...


class Interrupted(StoppingCriteria):
    """Ends `generate` once the event is set."""

    def __init__(self, event: threading.Event) -> None:
        self.event = event

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        return torch.full((len(input_ids),), self.event.is_set())


async def answer(lm: SpeechLM, rows: Any, model: Connection, interrupted: threading.Event) -> None:
    """Generate in a thread, and send what comes. `rows` is the prompt, int64 [rows, codebooks]."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue()

    def generate() -> None:
        try:
            lm.generate(
                torch.from_numpy(rows.T.copy()),
                streamer=CodeStreamer(
                    lambda codes: loop.call_soon_threadsafe(queue.put_nowait, codes)
                ),
                logits_processor=[InGrid(len(rows), ANSWERED)],
                stopping_criteria=[Interrupted(interrupted)],
                max_new_tokens=ANSWERED + PLAIN.tail,
                do_sample=False,
            )
        finally:
            loop.call_soon_threadsafe(queue.put_nowait, None)

    generating = loop.run_in_executor(None, generate)
    while (codes := await queue.get()) is not None:
        await model.send_codes(codes)
    await generating


async def converse(lm: SpeechLM, url: str, room: str, token: str | None = None) -> None:
    """Holds one conversation, until its user ends."""
    async with connect(url, "model", room=room, token=token) as model:
        delayer, rows, speaking = Delayer(), [], None
        interrupted = threading.Event()
        async for event in model:
            if isinstance(event, Cleared):
                interrupted.set()
            elif isinstance(event, Codes) and (speaking is None or speaking.done()):
                rows.extend(delayer.push(event.codes))
                if len(rows) >= HEARD:
                    prompt = np.stack([*rows, *delayer.flush()])
                    interrupted, rows = threading.Event(), []
                    speaking = asyncio.create_task(answer(lm, prompt, model, interrupted))
        interrupted.set()
        if speaking is not None:
            await speaking


async def main() -> None:
    parser = argparse.ArgumentParser(description="Answers in the codes of a random model.")
    parser.add_argument("--url", default="ws://127.0.0.1:8765")
    parser.add_argument("--room", default="lm")
    parser.add_argument("--token", default=os.environ.get("XYT_TOKEN"))
    options = parser.parse_args()
    lm = SpeechLM.small()
    print(f"waiting in room {options.room!r}", flush=True)
    while True:
        await converse(lm, options.url, options.room, options.token)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        try:
            asyncio.run(main())
        except XYTError as error:
            sys.exit(f"Error: {error}")
