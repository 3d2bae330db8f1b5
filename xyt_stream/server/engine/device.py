"""The encoder and the decoder of all slots, and the steps that they take together."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.slots import Ints, Mask, Work
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.transfers import Transfers

WARM_ROWS = 32


@dataclass(frozen=True)
class Batch:
    """What one step made, by rows."""

    codes: CodeArray  # [rows, codebooks]
    sound: Samples | None  # [rows, frame_samples_out]; only of those that were decoded
    tail: Samples | None  # [slots, delay_samples]
    times: tuple[float, float, float]  # seconds: before encoding, after it, and after decoding


class Device:
    """Belongs to the thread that takes the steps, once that has been started.

    Args:
        codec: the loaded model.
        slots: how many streams there may be at once.
        lookahead: frames of the future that a bidirectional model waits for.

    Attributes:
        pcm, codes: what the next step is fed with, by rows: float32 [slots, frame_samples_in] and
            int64 [slots, codebooks], where the device can read it by itself.
        encoder, decoder: of all slots.
    """

    def __init__(self, codec: Codec, slots: int, lookahead: int) -> None:
        self._codec = codec
        self._slots = slots
        self.encoder = codec.stream_encoder(slots, lookahead=lookahead)
        self.decoder = codec.stream_decoder(slots, lookahead=lookahead)
        self._transfers = Transfers(codec.device)
        staging = self._transfers.staging
        self.pcm = staging(slots, codec.frame_samples_in)
        self.codes = staging(slots, codec.num_codebooks, dtype=torch.int64)
        self._made_codes = staging(slots, codec.num_codebooks, dtype=torch.int64)
        self._made_sound = staging(slots, codec.frame_samples_out)
        # Codes that decoders hear before they speak, by slot: [slots, codebooks, lead].
        self._lead_codes = torch.zeros(
            slots, codec.num_codebooks, self.decoder.lead, dtype=torch.int64
        )

    def warm_up(self) -> None:
        """Takes a step of every size once, beforehand: on a CPU the first takes twice as long.

        Steps of more than WARM_ROWS are so long by themselves that their first may take its time.
        On a GPU steps are captured when the encoder and the decoder are made.
        """
        if not self._picks:
            return
        for count in range(1, min(self._slots, WARM_ROWS) + 1):
            rows = torch.arange(count)
            active = torch.ones(count, dtype=torch.bool)
            self.decoder.step(self.encoder.step(self.pcm[:count], active, rows), active, rows)
        self.encoder.reset()
        self.decoder.reset()

    @property
    def _picks(self) -> bool:
        """Whether a step takes the rows that have a frame and no others.

        On a CPU a row more is time lost. On a GPU it costs next to nothing, and nothing is copied.
        """
        return self._codec.device.type == "cpu" and self._codec.causal

    def step(self, work: Work, lead: Samples | None) -> Batch:
        """What `pcm` and `codes` become; `lead` is what fresh encoders hear first, by rows."""
        for source, target in work.moves:
            self.encoder.move(source, target)
            self.decoder.move(source, target)
        codes = self.codes[: len(work.slots)]
        began = time.monotonic()
        if work.encoded.any():
            self._encode(work, codes, lead)
        encoded = time.monotonic()  # the codes are here: no device is still at it
        self._hear(work, codes)
        sound = tail = None
        if work.decoded.any():
            sound = self._decode(work)
        times = began, encoded, time.monotonic()
        if work.ended.any():
            tail = self.decoder.tail().cpu().numpy()
        return Batch(codes.numpy().copy(), sound, tail, times)

    def _encode(self, work: Work, codes: Tensor, lead: Samples | None) -> None:
        """Puts the codes of the rows that are encoded into [rows, codebooks]."""
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
        """Sound of the rows that are decoded; other rows mean nothing."""
        rows, active, chosen = self._rows(work.decoded)
        fed = self._transfers.up(_choose(self.codes, active, chosen))
        made = self.decoder.step(fed, active, chosen)
        sound = np.empty((len(work.slots), made.shape[1]), np.float32)
        sound[rows] = self._fetch(made, self._made_sound, rows, chosen).numpy()
        return sound

    def _hear(self, work: Work, codes: Tensor) -> None:
        """What decoders hear before they speak."""
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
        """Which rows are in the mask, and the `active` and `chosen` of a step for them."""
        rows = torch.from_numpy(np.flatnonzero(mask))
        if self._picks:
            return rows, torch.ones(len(rows), dtype=torch.bool), rows
        count = int(rows[-1]) + 1  # no more of the first rows than reach the mask's last one
        active = torch.zeros(count, dtype=torch.bool)
        active[rows] = True
        return rows, self._transfers.up(active), None

    def _fetch(self, made: Tensor, staging: Tensor, rows: Tensor, chosen: Tensor | None) -> Tensor:
        """What a step made of `rows`, on the host until the next one."""
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
    """What a step is fed with, out of all rows."""
    return rows[: len(active)] if chosen is None else rows[chosen]
