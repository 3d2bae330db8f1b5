"""Repeats the user, as a duplex model: `--duplex xyt_stream.server.duplex.parrot:Parrot`.

It shows the methods that a batched model needs, and whether a whole setup works: it listens,
notices the end of a turn, repeats the same codes, and stops when it is interrupted.
"""

from __future__ import annotations

import collections

import numpy as np
import torch

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.duplex.vad import TurnRecorder, VoiceActivity
from xyt_stream.server.engine.device_rows import Row, make_rows
from xyt_stream.server.engine.work import Mask
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.transfers import Transfers


class _Talk:
    """One conversation: the turns of its user, and what is left to repeat."""

    def __init__(self, rate: int) -> None:
        self._vad = VoiceActivity(rate)
        self.begin()

    def begin(self) -> None:
        """Begins another conversation."""
        self._vad.reset()
        self._turns = TurnRecorder()
        self.answer: collections.deque[CodeArray] = collections.deque()

    def hear(self, codes: CodeArray, sound: Samples) -> CodeArray | None:
        """Takes the user's next frame; returns the parrot's, int64 [codebooks]; None: silence."""
        self._vad.push(sound)
        turn = self._turns.push(codes, self._vad.speaking)
        if self._turns.speaking:
            self.answer.clear()
        if turn is not None:
            self.answer.extend(turn.T)
        return self.answer.popleft() if self.answer else None


class Parrot:
    """Repeats each turn of the user, in all conversations at once. See models.py for its methods.

    Args:
        codec: the server's; it decodes the users' codes for the speech detector.
        slots: conversations at once.
    """

    batched = True

    def __init__(self, codec: Codec, slots: int) -> None:
        self._decoder = codec.stream_decoder(slots)
        self._device = codec.device
        heard = Row(codec.num_codebooks, torch.int64)
        sound = Row(codec.frame_samples_out, torch.float32)
        transfers = Transfers(codec.device)
        self._rows = make_rows(codec, transfers, self._decoder.step, slots, heard, sound)
        self._talks = [_Talk(codec.output_rate) for _ in range(slots)]
        # The first step of each size takes long, which would hold up the sound of every session.
        for count in range(1, slots + 1):
            self._rows.run(np.arange(count))

    def open(self, slot: int, session: str) -> None:
        fresh = torch.zeros(len(self._talks), dtype=torch.bool, device=self._device)
        fresh[slot] = True
        self._decoder.reset(fresh)
        self._talks[slot].begin()

    def step(self, codes: CodeArray, active: Mask) -> tuple[CodeArray, Mask]:
        said, speaks = np.zeros_like(codes), np.zeros_like(active)
        slots = np.flatnonzero(active)
        self._rows.given[:] = codes
        for slot, sound in zip(slots.tolist(), self._rows.run(slots), strict=True):
            answer = self._talks[slot].hear(codes[slot].copy(), sound)
            if answer is not None:
                said[slot], speaks[slot] = answer, True
        return said, speaks

    def clear(self, slot: int, played: int) -> None:
        self._talks[slot].answer.clear()

    def close(self, slot: int) -> None:
        self._talks[slot].answer.clear()
