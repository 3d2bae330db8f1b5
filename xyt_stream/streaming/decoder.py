"""Codes to sound, 80 ms at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.compiled_step import CompiledStep, compile_step
from xyt_stream.streaming.inputs import Codes, check_codes
from xyt_stream.streaming.steps import Feed, Steps


class StreamDecoder:
    """Live decoding of `slots` streams side by side.

    One stream: `push` and `flush`. Many: `step`, with one frame of codes for each slot that has
    one, after `prime` where the model looks ahead.

    Args:
        slots: streams side by side.
        lookahead: frames a bidirectional model sees beyond the one it gives out.
        frames: code frames in the longest step of a causal model.
        graphs: on a GPU, capture the step of one frame of all codebooks for every bucket of slots,
            which takes seconds; other steps are launched one kernel after the other.

    Attributes:
        lead: frames of codes a fresh slot is primed with.
        delay_samples: how far, at the output rate, sound lags behind the frames given out: the
            overlap-add's right half. A slot's first `delay_samples` after a reset lie before its
            stream's start, to be dropped.
        delay: seconds from a frame's codes until all its sound is out: lead and overlap-add.
    """

    def __init__(
        self,
        network: Tokenizer,
        slots: int,
        *,
        lookahead: int = 0,
        frames: int = 1,
        graphs: bool = True,
    ) -> None:
        config = network.config
        self.network = network
        self.slots = slots
        self.steps = Steps(
            network,
            [network.decoder],
            slots,
            lookahead=lookahead,
            frames=frames,
            hop=1,
            ahead=0,
            channels=(network.quantizer.output_proj.out_features,),
        )
        self.lead = self.steps.lead
        self.delay_samples = (config.vocoder.n_fft - config.vocoder.hop) // 2
        self.delay = self.lead * FRAME_SECONDS + self.delay_samples / config.output_rate
        self._feed: Feed | None = None
        self._started = False
        self._compiled: CompiledStep | None = None
        if frames == 1:
            parts = [network.decoder, network.quantizer]
            codes = torch.zeros(slots, config.quantizer.codebooks, dtype=torch.int64)
            self._compiled = compile_step(self.run, parts, self.steps, codes, graphs=graphs)

    @torch.inference_mode()
    def step(self, codes: Tensor, active: Tensor, chosen: Tensor | None = None) -> Tensor:
        """One step of the first slots: of as many as there are rows, which may be all.

        Args:
            codes: int64 [slots, codebooks], of the first one or more codebooks; of a causal model
                also [slots, codebooks, frames].
            active: bool [slots]; other slots' rows mean nothing and their state does not move.
            chosen: of a causal model, int64 [rows]: the rows are these slots instead, as in
                `StreamEncoder.step`.

        Returns:
            float32 [slots, frames * frame_samples_out].
        """
        whole = codes.ndim == 2 and codes.shape[1] == self.network.config.quantizer.codebooks
        if self._compiled and whole and self._compiled.serves(active, chosen):
            return self._compiled(codes, active, chosen)
        return self.run(codes, active, chosen, self.steps.sole_lane(active))

    @torch.inference_mode()
    def run(
        self, codes: Tensor, active: Tensor, chosen: Tensor | None = None, lane: int | None = None
    ) -> Tensor:
        """`step` itself, which traces and graphs are made from: it asks the device nothing.

        Args:
            lane: the only one to run, of a model that has two.
        """
        steps = self.steps
        latent = self._latent(codes[:, :, None] if codes.ndim == 2 else codes)
        seen = steps.begin(latent, active, chosen, lane).transpose(1, 2)
        sound: Tensor = self.network.decoder(seen, steps.stream)
        if steps.lanes and lane is None:
            sound = steps.lanes.fade(sound)
        steps.finish(active)
        return sound

    def _latent(self, codes: Tensor) -> Tensor:
        """[slots, codebooks, frames] -> [slots, width, frames]."""
        return self.network.quantizer.decode(codes).transpose(1, 2)

    @torch.inference_mode()
    def prime(self, codes: Tensor, mask: Tensor) -> None:
        """Give fresh slots of `mask` (bool [slots]) their lookahead, [slots, codebooks, lead]."""
        self.steps.prime(self._latent(codes), mask)

    def end(self, mask: Tensor, frames: Tensor) -> None:
        """Slots of `mask` have `frames` (int64 [slots]) left; any codes follow their last frame."""
        self.steps.end(mask, frames)

    @torch.inference_mode()
    def tail(self) -> Tensor:
        """What each slot has left to play if its stream ends now: [slots, delay_samples]."""
        rest = self.steps.stream.rest(self.network.decoder.vocoder.head)
        return self.steps.lanes.pick(rest) if self.steps.lanes else rest

    def move(self, source: int, target: int) -> None:
        """Put the stream of slot `source` into slot `target`."""
        self.steps.move(source, target)

    def reset(self, mask: Tensor | None = None) -> None:
        """Start fresh streams in the slots of `mask` (bool [slots]), or in all."""
        self.steps.reset(mask)
        self._feed = None
        self._started = False

    def push(self, codes: Codes) -> Tensor:
        """Say any number of frames of the one stream.

        Args:
            codes: int64 [codebooks, frames], of the first one or more codebooks; as many in every
                push of a stream.

        Returns:
            float32 [new samples], on the CPU.

        Raises:
            CodeError: not integers, a wrong shape, or a code out of range; nothing is said then.
        """
        config = self.network.config.quantizer
        codes = check_codes(codes, (2,), config.codebooks, config.codebook_size).cpu()
        if self._feed is None:
            self._feed = Feed(self.steps, codes[:, :0], self.prime)
        return self._run(self._feed.push(codes))

    def flush(self) -> Tensor:
        """End the stream; the next push starts anew.

        Returns:
            float32 [samples]: all that is left to play.
        """
        sound = self._run(self._feed.flush()) if self._feed else torch.zeros(0)
        if self._started:
            sound = torch.cat([sound, self.tail()[0].cpu()])
        self.reset()
        return sound

    def _run(self, inputs: list[Tensor]) -> Tensor:
        if not inputs:
            return torch.zeros(0)
        steps = self.steps
        parts = [self.step(x[None].to(steps.device), steps.all_slots)[0].cpu() for x in inputs]
        sound = torch.cat(parts)
        if not self._started:
            sound = sound[self.delay_samples :]
            self._started = True
        return sound
