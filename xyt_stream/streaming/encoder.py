"""Sound to codes, 80 ms at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.compiled_step import compile_step
from xyt_stream.streaming.inputs import Samples, check_samples
from xyt_stream.streaming.steps import Feed, Steps


class StreamEncoder:
    """Live encoding of `slots` streams side by side.

    One stream: `push` and `flush`. Many: `step`, with one frame of sound for each slot that has
    one, after `prime` where the model looks ahead.

    Args:
        slots: streams side by side.
        lookahead: frames a bidirectional model sees beyond the one it gives out.
        graphs: on a GPU, capture the step for every bucket of slots, which takes seconds.

    Attributes:
        lead: samples a fresh slot is primed with.
        delay: seconds from the first sample of a frame until its codes can be known.
    """

    def __init__(
        self, network: Tokenizer, slots: int, *, lookahead: int = 0, graphs: bool = True
    ) -> None:
        self.network = network
        self.slots = slots
        self.steps = Steps(
            network,
            [network.mel, network.encoder],
            slots,
            lookahead=lookahead,
            frames=1,
            hop=FRAME_SAMPLES,
            ahead=network.samples_ahead,
            channels=(),
        )
        self.lead = self.steps.lead
        self.delay = (FRAME_SAMPLES + self.lead) / INPUT_RATE
        self._feed: Feed | None = None
        parts = [network.encoder, network.mel, network.quantizer]
        pcm = torch.zeros(slots, FRAME_SAMPLES)
        self._compiled = compile_step(self.run, parts, self.steps, pcm, graphs=graphs)

    @torch.inference_mode()
    def step(self, pcm: Tensor, active: Tensor, chosen: Tensor | None = None) -> Tensor:
        """One step of the first slots: of as many as there are rows, which may be all.

        Args:
            pcm: float32 [slots, 1280].
            active: bool [slots]; other slots' rows mean nothing and their state does not move.
            chosen: of a causal model, int64 [rows]: the rows are these slots instead, all of them
                different. It costs some copying, and so pays where few of many are active.

        Returns:
            int64 [slots, codebooks].
        """
        if self._compiled and self._compiled.serves(active, chosen):
            return self._compiled(pcm, active, chosen)
        return self.run(pcm, active, chosen, self.steps.sole_lane(active))

    @torch.inference_mode()
    def run(
        self, pcm: Tensor, active: Tensor, chosen: Tensor | None = None, lane: int | None = None
    ) -> Tensor:
        """`step` itself, which traces and graphs are made from: it asks the device nothing.

        Args:
            lane: the only one to run, of a model that has two.
        """
        steps = self.steps
        seen = steps.begin(pcm, active, chosen, lane)
        codes = self.network.encode(seen, steps.stream)[:, :, 0]
        if steps.lanes and lane is None:
            codes = steps.lanes.pick(codes)
        steps.finish(active)
        return codes

    def prime(self, pcm: Tensor, mask: Tensor) -> None:
        """Give fresh slots of `mask` (bool [slots]) their lookahead, float32 [slots, lead]."""
        self.steps.prime(pcm, mask)

    def end(self, mask: Tensor, frames: Tensor) -> None:
        """Slots of `mask` have `frames` (int64 [slots]) left; zeros follow their last sample."""
        self.steps.end(mask, frames)

    def move(self, source: int, target: int) -> None:
        """Put the stream of slot `source` into slot `target`."""
        self.steps.move(source, target)

    def reset(self, mask: Tensor | None = None) -> None:
        """Start fresh streams in the slots of `mask` (bool [slots]), or in all."""
        self.steps.reset(mask)
        self._feed = None

    def push(self, pcm: Samples) -> Tensor:
        """Hear any number of samples of the one stream.

        Args:
            pcm: float32 [samples] at 16 kHz.

        Returns:
            int64 [codebooks, new frames], on the CPU.

        Raises:
            AudioError: not float samples, or NaN among them; nothing is heard then.
        """
        return self._run(self._feeding().push(check_samples(pcm, (1,)).cpu()))

    def flush(self) -> Tensor:
        """End the stream; the next push starts anew.

        Returns:
            int64 [codebooks, frames]: all that is left, a last partial frame padded with zeros.
        """
        codes = self._run(self._feeding().flush())
        self.reset()
        return codes

    def _feeding(self) -> Feed:
        if self._feed is None:
            self._feed = Feed(self.steps, torch.zeros(0), self.prime)
        return self._feed

    def _run(self, inputs: list[Tensor]) -> Tensor:
        if not inputs:
            books = self.network.config.quantizer.codebooks
            return torch.zeros(books, 0, dtype=torch.int64)
        steps = self.steps
        codes = [self.step(x[None].to(steps.device), steps.all_slots)[0].cpu() for x in inputs]
        return torch.stack(codes, 1)
