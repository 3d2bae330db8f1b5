"""Runs the encoder and the decoder of all slots, one common step at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xyt_stream.audio import Samples
from xyt_stream.errors import HandoverError
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.work import Ints, Mask, Work
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.transfers import Transfers

WARM_ROWS = 32
# Rows of a step on a CPU: two steps of 8 take 33 ms, one of 16 takes 29 (2-core EPYC VM, AVX-512).
_MOST_ROWS = 8


@dataclass(frozen=True)
class StepResults:
    """The results of one step, by rows."""

    codes: CodeArray  # [rows, codebooks]
    sound: Samples | None  # [rows, frame_samples_out]; only decoded rows are valid
    tail: Samples | None  # [slots, delay_samples]
    times: tuple[float, float, float]  # seconds: before encoding, after it, and after decoding


def picks_rows(codec: Codec) -> bool:
    """Whether a step computes only the rows that have a frame.

    On a CPU each extra row costs time. On a GPU it costs next to nothing and saves a copy.
    """
    return codec.device.type == "cpu" and codec.causal


class Device:
    """The device's side of the engine. Once the engine has started, only its thread may call it.

    Args:
        codec: the loaded model.
        slots: number of concurrent streams.
        lookahead: frames of future context that a bidirectional model waits for.

    Attributes:
        pcm, codes: the next step's input by rows, float32 [slots, frame_samples_in] and int64
            [slots, codebooks], in memory that the device can read directly.
        encoder, decoder: of all slots.
        most_rows: with a frame in one step: from there on two steps take hardly longer.
    """

    def __init__(self, codec: Codec, slots: int, lookahead: int) -> None:
        self._codec = codec
        self._slots = slots
        self.most_rows = min(slots, _MOST_ROWS) if picks_rows(codec) else slots
        self.encoder = codec.stream_encoder(slots, lookahead=lookahead)
        self.decoder = codec.stream_decoder(slots, lookahead=lookahead)
        self._transfers = Transfers(codec.device)
        staging = self._transfers.staging
        self.pcm = staging(slots, codec.frame_samples_in)
        self.codes = staging(slots, codec.num_codebooks, dtype=torch.int64)
        self._made_codes = staging(slots, codec.num_codebooks, dtype=torch.int64)
        self._made_sound = staging(slots, codec.frame_samples_out)
        # Codes that prime each decoder: [slots, codebooks, lead].
        self._lead_codes = torch.zeros(
            slots, codec.num_codebooks, self.decoder.lead, dtype=torch.int64
        )

    def warm_up(self) -> None:
        """Takes a step of every size up to WARM_ROWS once: on a CPU the first takes twice as long.

        Larger steps are long enough that a slow first one does not matter. On a GPU the encoder and
        the decoder capture their steps when they are made.
        """
        if not picks_rows(self._codec):
            return
        for count in range(1, min(self._slots, WARM_ROWS) + 1):
            rows = torch.arange(count)
            active = torch.ones(count, dtype=torch.bool)
            self.decoder.step(self.encoder.step(self.pcm[:count], active, rows), active, rows)
        self.encoder.reset()
        self.decoder.reset()

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
            sound = self._decode(work)
        times = began, encoded, time.monotonic()
        if work.ended.any():
            tail = self.decoder.tail().cpu().numpy()
        return StepResults(codes.numpy().copy(), sound, tail, times)

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

    def _encode(self, work: Work, codes: Tensor, lead: Samples | None) -> None:
        """Encodes the rows with sound; writes their codes into `codes`, int64 [rows, codebooks]."""
        if work.fresh.any():
            fresh = self._masked(work.fresh)
            self.encoder.reset(fresh)
            if self.encoder.lead and lead is not None:
                self.encoder.prime(self._padded(torch.from_numpy(lead)), fresh)
        if self.encoder.lead and work.closing.any():
            self.encoder.end(self._masked(work.closing), self._counts(work.left))
        rows, active, chosen = self._rows(work.encoded)
        fed = self._transfers.up(_choose(self.pcm, active, chosen))
        made = self.encoder.step(fed, active, chosen)
        codes[rows] = self._fetch(made, self._made_codes, rows, chosen)

    def _decode(self, work: Work) -> Samples:
        """Decodes the rows that are due, float32 [rows, frame_samples_out]; others are undefined"""
        rows, active, chosen = self._rows(work.decoded)
        fed = self._transfers.up(_choose(self.codes, active, chosen))
        made = self.decoder.step(fed, active, chosen)
        sound = np.empty((len(work.slots), made.shape[1]), np.float32)
        sound[rows] = self._fetch(made, self._made_sound, rows, chosen).numpy()
        return sound

    def _feed_decoder(self, work: Work, codes: Tensor) -> None:
        """Resets, primes and drains decoders, and keeps the codes that will prime them."""
        if work.starts.any():
            self.decoder.reset(self._masked(work.starts))
        if not self.decoder.lead:
            return
        if work.primed.any():
            lead = self._lead_codes[torch.from_numpy(work.slots)]
            self.decoder.prime(self._padded(lead), self._masked(work.primed))
        if work.drains.any():
            self.decoder.end(self._masked(work.drains), self._counts(work.rest))
        early = np.flatnonzero(work.place >= 0)
        slots, place = work.slots[early], work.place[early]
        self._lead_codes[slots, :, place] = codes[early]

    def _rows(self, mask: Mask) -> tuple[Tensor, Tensor, Tensor | None]:
        """Indices of the masked rows, and the arguments `active` and `chosen` of their step."""
        rows = torch.from_numpy(np.flatnonzero(mask))
        if picks_rows(self._codec):
            return rows, torch.ones(len(rows), dtype=torch.bool), rows
        count = int(rows[-1]) + 1  # rows up to the mask's last one
        active = torch.zeros(count, dtype=torch.bool)
        active[rows] = True
        return rows, self._transfers.up(active), None

    def _fetch(self, made: Tensor, staging: Tensor, rows: Tensor, chosen: Tensor | None) -> Tensor:
        """A step's results for `rows` on the host, valid until the next step."""
        arrived = self._transfers.down(made, staging[: len(made)]).wait()
        return arrived[rows] if chosen is None else arrived

    def _masked(self, mask: Mask) -> Tensor:
        """[rows] as bool [slots]."""
        return self._padded(torch.from_numpy(mask))

    def _counts(self, numbers: Ints) -> Tensor:
        """[rows] as int64 [slots]."""
        return self._padded(torch.from_numpy(numbers))

    def _padded(self, rows: Tensor) -> Tensor:
        """[rows, ...] as [slots, ...] on the device."""
        padded = rows.new_zeros(self._slots, *rows.shape[1:])
        padded[: len(rows)] = rows
        return padded.to(self._codec.device)


def _choose(rows: Tensor, active: Tensor, chosen: Tensor | None) -> Tensor:
    """A step's input, out of all rows."""
    return rows[: len(active)] if chosen is None else rows[chosen]
