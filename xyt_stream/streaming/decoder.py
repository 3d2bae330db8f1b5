"""Decodes live: codes to samples, 80 ms at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.errors import CodeError
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.coder import StreamCoder
from xyt_stream.streaming.inputs import Codes, check_codes
from xyt_stream.streaming.uncompiled import uncompiled


class StreamDecoder(StreamCoder):
    """Live decoding of `slots` streams side by side.

    For one stream use `push` and `flush`. For many use `step`, with one frame of codes for each
    slot that has one, after `prime` where the model looks ahead. One thread at a time may call it.

    Args:
        slots: streams side by side.
        lookahead: frames that a bidirectional model sees beyond the one it gives out.

    Attributes:
        lead: frames of codes that a fresh slot is primed with.
        delay_samples: samples, at the output rate, by which sound lags behind the frames given out:
            the overlap-add's right half. A slot's first `delay_samples` after a reset lie before
            its stream's start; drop them.
        delay: seconds from a frame's codes until all its sound is out: lead and overlap-add.
    """

    def __init__(self, network: Tokenizer, slots: int, *, lookahead: int = 0) -> None:
        super().__init__(
            network,
            [network.decoder],
            slots,
            lookahead=lookahead,
            hop=1,
            ahead=0,
            channels=(network.quantizer.output_proj.out_features,),
        )
        config = network.config
        self.delay_samples = config.vocoder.overlap_samples
        self.delay = self.lead * FRAME_SECONDS + self.delay_samples / config.output_rate
        self._started = False

    @uncompiled
    def step(self, codes: Tensor, active: Tensor, chosen: Tensor | None = None) -> Tensor:
        """One step of the first slots: of as many as there are rows, which may be all.

        Args:
            codes: int64 [slots, codebooks] of the first one or more codebooks, on the model's
                device; -1 where a row leaves a codebook out.
            active: bool [slots]; other slots' rows mean nothing and their state does not move.
            chosen: for a causal model, int64 [rows]: the rows are these slots instead, as in
                `StreamEncoder.step`.

        Returns:
            float32 [slots, frame_samples_out], on the model's device.
        """
        whole = codes.shape[1] == self.network.config.quantizer.codebooks
        return self._step(codes, active, chosen, whole=whole)

    @torch.inference_mode()
    def run(
        self, x: Tensor, active: Tensor, chosen: Tensor | None = None, lane: int | None = None
    ) -> Tensor:
        seen = self._begin(self._network_input(x[:, :, None]), active, chosen, lane)
        sound: Tensor = self.network.decoder(seen.transpose(1, 2), self.stream)
        if self.lanes and lane is None:
            sound = self.lanes.fade(sound)
        self._finish(active)
        return sound

    def _network_input(self, x: Tensor) -> Tensor:
        """Codes [slots, codebooks, frames] -> latents [slots, width, frames]."""
        return self.network.quantizer.decode(x).transpose(1, 2)

    def _blank_input(self) -> Tensor:
        codebooks = self.network.config.quantizer.codebooks
        return torch.zeros(self.slots, codebooks, dtype=torch.int64, device="cpu")

    def tail(self) -> Tensor:
        """The rest of each slot's sound if its stream ends now: float32 [slots, delay_samples]."""
        with torch.inference_mode():
            rest = self.stream.rest(self.network.decoder.vocoder.head)
            rest = self.lanes.pick(rest) if self.lanes else rest
        return rest.clone()

    def reset(self, mask: Tensor | None = None) -> None:
        super().reset(mask)
        self._started = False

    @uncompiled
    def push(self, codes: Codes) -> Tensor:
        """Decode any number of frames of the one stream.

        Args:
            codes: int64 [codebooks, frames], of the first one or more codebooks; as many in every
                push of a stream.

        Returns:
            float32 [new samples], on the CPU.

        Raises:
            InputTypeError: no numbers at all, a path for example.
            CodeError: not integers, other axes, a code out of range, or another number of codebooks
                than the stream began with.
            XYTError: there are several slots, or another thread is inside.
                Nothing is taken after any of these.
        """
        config = self.network.config.quantizer
        codes = check_codes(codes, (2,), config.codebooks, config.codebook_size).cpu()
        with self._one_stream():
            if self._feed and len(codes) != len(self._feed.empty):
                raise CodeError(
                    f"this stream's codes are of {len(self._feed.empty)} codebooks, "
                    f"not {len(codes)}; flush ends it"
                )
            return self._decode(self.inputs(codes))

    @uncompiled
    def flush(self) -> Tensor:
        """End the stream; the next push starts a new one.

        Returns:
            float32 [samples]: all that is left to play, on the CPU.

        Raises:
            XYTError: there are several slots, or another thread is inside.
        """
        with self._one_stream():
            sound = self._decode(self.last_inputs())
            if self._started:
                sound = torch.cat([sound, self.tail()[0].cpu()])
            self.reset()
            return sound

    def _decode(self, inputs: list[Tensor]) -> Tensor:
        if not inputs:
            return torch.zeros(0, dtype=torch.float32, device="cpu")
        parts = [self.step(x, self.all_slots)[0].cpu() for x in inputs]
        sound = torch.cat(parts)
        if not self._started:
            sound = sound[self.delay_samples :]
            self._started = True
        return sound
