"""Encodes live: samples to codes, 80 ms at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.coder import StreamCoder
from xyt_stream.streaming.inputs import Samples, check_samples, warn_if_loud
from xyt_stream.streaming.uncompiled import uncompiled


class StreamEncoder(StreamCoder):
    """Live encoding of `slots` streams side by side.

    For one stream use `push` and `flush`. For many use `step`, with one frame of samples for each
    slot that has one, after `prime` where the model looks ahead. One thread at a time may call it.

    Args:
        slots: streams side by side.
        lookahead: frames that a bidirectional model sees beyond the one it gives out.

    Attributes:
        lead: samples that a fresh slot is primed with.
        delay: seconds from the first sample of a frame until its codes can be known.
    """

    def __init__(self, network: Tokenizer, slots: int, *, lookahead: int = 0) -> None:
        super().__init__(
            network,
            [network.encoder, network.mel],
            slots,
            lookahead=lookahead,
            hop=FRAME_SAMPLES,
            ahead=network.samples_ahead,
            channels=(),
        )
        self.delay = (FRAME_SAMPLES + self.lead) / INPUT_RATE
        self._warned = False

    @uncompiled
    def step(self, pcm: Tensor, active: Tensor, chosen: Tensor | None = None) -> Tensor:
        """One step of the first slots: of as many as there are rows, which may be all.

        Args:
            pcm: float32 [slots, 1280], on the model's device.
            active: bool [slots]; other slots' rows mean nothing and their state does not move.
            chosen: for a causal model, int64 [rows]: the rows are these slots instead, all of them
                different. It costs some copying, so it pays where few of many are active.

        Returns:
            int64 [slots, codebooks], on the model's device.
        """
        return self._step(pcm, active, chosen, whole=True)

    @torch.inference_mode()
    def run(
        self, x: Tensor, active: Tensor, chosen: Tensor | None = None, lane: int | None = None
    ) -> Tensor:
        codes = self.network.encode(self._begin(x, active, chosen, lane), self.stream)[:, :, 0]
        if self.lanes and lane is None:
            codes = self.lanes.pick(codes)
        self._finish(active)
        return codes

    def _blank_input(self) -> Tensor:
        return torch.zeros(self.slots, FRAME_SAMPLES, dtype=torch.float32, device="cpu")

    @uncompiled
    def push(self, pcm: Samples) -> Tensor:
        """Encode any number of samples of the one stream.

        Args:
            pcm: float32 [samples] at 16 kHz.

        Returns:
            int64 [codebooks, new frames], on the CPU.

        Raises:
            InputTypeError: no numbers at all, a path for example.
            AudioError: not float samples, other axes, or NaN among them.
            XYTError: there are several slots, or another thread is inside.
                Nothing is taken after any of these.
        """
        pcm = check_samples(pcm, (1,)).cpu()
        with self._one_stream():
            self._warned = self._warned or warn_if_loud(pcm)
            return self._encode(self.inputs(pcm))

    @uncompiled
    def flush(self) -> Tensor:
        """End the stream; the next push starts a new one.

        Returns:
            int64 [codebooks, frames]: all that is left, a last partial frame padded with zeros.

        Raises:
            XYTError: there are several slots, or another thread is inside.
        """
        with self._one_stream():
            codes = self._encode(self.last_inputs())
            self.reset()
            return codes

    def _encode(self, inputs: list[Tensor]) -> Tensor:
        if not inputs:
            codebooks = self.network.config.quantizer.codebooks
            return torch.zeros(codebooks, 0, dtype=torch.int64, device="cpu")
        codes = [self.step(x, self.all_slots)[0].cpu() for x in inputs]
        return torch.stack(codes, 1)
