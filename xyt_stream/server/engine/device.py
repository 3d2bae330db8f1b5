"""Runs the encoder and the decoder of all slots, one common step at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xyt_stream.audio import Samples
from xyt_stream.errors import HandoverError
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.device_rows import Row, make_rows, picks_rows
from xyt_stream.server.engine.work import Work
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.transfers import Transfers

WARM_ROWS = 32
# Rows of a step on a CPU: two steps of 8 take 33 ms, one of 16 takes 29 (2-core EPYC VM, AVX-512).
_MOST_ROWS = 8


@dataclass(frozen=True)
class StepResults:
    """The results of one step."""

    codes: CodeArray  # [rows, codebooks]
    sound: Samples | None  # [decoded rows, frame_samples_out]
    tail: Samples | None  # [slots, delay_samples]
    times: tuple[float, float, float]  # seconds: before encoding, after it, and after decoding


class Device:
    """The device's side of the engine. Once the engine has started, only its thread may call it.

    Args:
        codec: the loaded model.
        slots: number of concurrent streams.
        lookahead: frames of future context that a bidirectional model waits for.

    Attributes:
        pcm, codes: the next step's input by rows, float32 [slots, frame_samples_in] and int64
            [slots, codebooks].
        encoder, decoder: of all slots.
        most_rows: with a frame in one step: from there on two steps take hardly longer.
    """

    def __init__(self, codec: Codec, slots: int, lookahead: int) -> None:
        self._codec = codec
        self._slots = slots
        self.most_rows = min(slots, _MOST_ROWS) if picks_rows(codec) else slots
        self.encoder = codec.stream_encoder(slots, lookahead=lookahead)
        self.decoder = codec.stream_decoder(slots, lookahead=lookahead)
        transfers = Transfers(codec.device)
        heard = Row(codec.frame_samples_in, torch.float32)
        codes = Row(codec.num_codebooks, torch.int64)
        made = Row(codec.frame_samples_out, torch.float32)
        self._encoder_rows = make_rows(codec, transfers, self.encoder.step, slots, heard, codes)
        self._decoder_rows = make_rows(codec, transfers, self.decoder.step, slots, codes, made)
        self.pcm, self.codes = self._encoder_rows.given, self._decoder_rows.given
        # Codes that prime each decoder: [slots, codebooks, lead].
        self._lead_codes = torch.zeros(
            slots, codec.num_codebooks, self.decoder.lead, dtype=torch.int64
        )

    def warm_up(self) -> None:
        """Takes a step of every size up to WARM_ROWS once: on a CPU the first takes twice as long.

        It moves a row and resets all as well, for torch compiles both at first. Larger steps are
        long enough that a slow first one does not matter. On a GPU the encoder and the decoder
        capture their steps when they are made.
        """
        if not picks_rows(self._codec):
            return
        for count in range(1, min(self._slots, WARM_ROWS) + 1):
            rows = np.arange(count)
            self._encoder_rows.run(rows)
            self._decoder_rows.run(rows)
        self.move([(0, 0)])
        self.encoder.reset()
        self.decoder.reset()

    @torch.inference_mode()
    def step(self, work: Work, lead: Samples | None) -> StepResults:
        """Runs a step on `pcm` and `codes`.

        `lead`, float32 [rows, lead_samples], primes the fresh encoders.
        """
        self.move(work.moves)
        codes = self.codes[: len(work.slots)]
        began = time.monotonic()
        if work.encoded.any():
            self._encode(work, codes, lead)
        encoded = time.monotonic()  # the codes have arrived, so the device is done
        self._feed_decoder(work, codes)
        sound = tail = None
        if work.decoded.any():
            sound = self._decoder_rows.run(np.flatnonzero(work.decoded))
        times = began, encoded, time.monotonic()
        if work.ended.any():
            tail = self.decoder.tail().cpu().numpy()
        return StepResults(codes.copy(), sound, tail, times)

    def move(self, moves: list[tuple[int, int]]) -> None:
        """Moves rows to other places, (from, to)."""
        for source, target in moves:
            self.encoder.move(source, target)
            self.decoder.move(source, target)

    def save(self, slot: int, row: int) -> dict[str, Tensor]:
        """A copy, on the host, of all that the slot's encoder and decoder remember, by name."""
        tensors = self._tensors(slot, row)
        return {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}

    def load(self, slot: int, row: int, tensors: dict[str, Tensor]) -> None:
        """Sets all that the slot's encoder and decoder remember.

        Raises:
            HandoverError: the names, kinds and shapes are not those of this model; nothing is set.
        """
        mine = self._tensors(slot, row)
        if mine.keys() != tensors.keys() or any(
            (tensor.shape, tensor.dtype) != (tensors[name].shape, tensors[name].dtype)
            for name, tensor in mine.items()
        ):
            raise HandoverError("the state of a stream is that of another model or setting")
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])

    def _tensors(self, slot: int, row: int) -> dict[str, Tensor]:
        halves = {"encoder": self.encoder, "decoder": self.decoder}
        found = {
            f"{half}.{name}": tensor
            for half, coder in halves.items()
            for name, tensor in coder.slot_tensors(row).items()
        }
        return {**found, "lead_codes": self._lead_codes[slot]}

    def _encode(self, work: Work, codes: CodeArray, lead: Samples | None) -> None:
        """Encodes the rows with sound; writes their codes into `codes`, int64 [rows, codebooks]."""
        if work.fresh.any():
            fresh = self._padded(work.fresh)
            self.encoder.reset(fresh)
            if self.encoder.lead and lead is not None:
                self.encoder.prime(self._padded(lead), fresh)
        if self.encoder.lead and work.closing.any():
            self.encoder.end(self._padded(work.closing), self._padded(work.left))
        rows = np.flatnonzero(work.encoded)
        codes[rows] = self._encoder_rows.run(rows)

    def _feed_decoder(self, work: Work, codes: CodeArray) -> None:
        """Resets, primes and drains decoders, and keeps the codes that will prime them."""
        if work.starts.any():
            self.decoder.reset(self._padded(work.starts))
        if not self.decoder.lead:
            return
        if work.primed.any():
            lead = self._lead_codes.numpy()[work.slots]
            self.decoder.prime(self._padded(lead), self._padded(work.primed))
        if work.drains.any():
            self.decoder.end(self._padded(work.drains), self._padded(work.rest))
        early = np.flatnonzero(work.place >= 0)
        slots, place = work.slots[early], work.place[early]
        self._lead_codes[slots, :, place] = torch.from_numpy(codes[early])

    def _padded(self, rows: npt.NDArray[Any]) -> Tensor:
        """[rows, ...] as [slots, ...] on the device."""
        padded = np.zeros((self._slots, *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        return torch.from_numpy(padded).to(self._codec.device)
