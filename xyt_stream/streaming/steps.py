"""What the live encoder and decoder share: slots, lookahead, and the end of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from xyt_stream.errors import ModelError, XYTError
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.lookahead import History, Lanes
from xyt_stream.streaming.overlapped_stream import OverlappedStream
from xyt_stream.streaming.stream import Stream


class Step(Protocol):
    """One step of some slots: `StreamEncoder.run` or `StreamDecoder.run`."""

    def __call__(self, x: Tensor, active: Tensor, chosen: Tensor | None = None, /) -> Tensor:
        """Rows, active and chosen to results, as documented there."""
        ...


class Steps:
    """`slots` streams side by side through one half of a network.

    A fresh slot is first primed with `lead` items (samples or frames), its lookahead; after that
    each step takes `hop` items in and gives one frame out. A causal network has no lead.

    Args:
        modules: the half.
        slots: streams side by side.
        lookahead: frames a bidirectional network sees beyond the one it gives out.
        frames: code frames in the longest step of a causal network; more than one makes whole
            files quicker.
        hop, ahead: items of input in a frame, and beyond the last frame of a step.
        channels: of the input, before its time axis.
    """

    def __init__(
        self,
        network: Tokenizer,
        modules: list[nn.Module],
        slots: int,
        *,
        lookahead: int,
        frames: int,
        hop: int,
        ahead: int,
        channels: tuple[int, ...],
    ) -> None:
        config = network.config
        if lookahead < 0 or (config.causal and lookahead):
            raise ModelError(
                f"{config.name} is causal: its lookahead is 0"
                if config.causal
                else f"a lookahead is 0 or more frames, not {lookahead}"
            )
        self.network = network
        self.slots = slots
        self.lookahead = lookahead
        self.device = network.quantizer.codebooks.device
        self.hop = hop
        self.lead = lookahead * hop + ahead
        self.all_slots = torch.ones(slots, dtype=torch.bool, device=self.device)
        self.lanes: Lanes | None = None
        self.history: History | None = None
        self.stream: Stream
        if config.causal:
            self.stream = Stream(config, modules, slots=slots, frames=frames, device=self.device)
        else:
            self.lanes = Lanes(slots, config.context, lookahead, self.device)
            self.history = History(slots, (*channels, hop + self.lead), hop, self.device)
            self.stream = OverlappedStream(config, modules, self.lanes, self.device)

    def sole_lane(self, active: Tensor) -> int | None:
        """The only lane that `begin` must run, on a CPU; None: both, or there are no lanes.

        A GPU is not asked: it would have to finish all else first.
        """
        return self.lanes.sole(active) if self.lanes and self.device.type == "cpu" else None

    def begin(
        self, x: Tensor, active: Tensor, chosen: Tensor | None = None, lane: int | None = None
    ) -> Tensor:
        """Start a step of the first slots, [slots, ..., hop]; what the network is to see.

        Args:
            chosen: of a causal network, int64 [rows]: these slots instead of the first.
            lane: run this one only, as `sole_lane` says.
        """
        if not isinstance(self.stream, OverlappedStream) or self.history is None:
            frames = x.shape[-1] // self.hop
            self.stream.begin(active, frames, frames, chosen)
            return x
        assert chosen is None
        seen = self.history.push(x, active)
        self.stream.enter(active, lane)
        return seen.repeat_interleave(2, dim=0) if lane is None else seen

    def finish(self, active: Tensor) -> None:
        """End the step."""
        self.stream.finish()
        if self.lanes:
            self.lanes.finish(active)

    def prime(self, x: Tensor, mask: Tensor) -> None:
        """Give fresh slots of `mask` their lookahead: [slots, ..., lead]."""
        if self.history:
            self.history.prime(x, mask)

    def end(self, mask: Tensor, frames: Tensor) -> None:
        """Say that slots of `mask` have `frames` (int64 [slots]) frames left to give out.

        Call it before the first step whose input holds anything beyond the stream's end (fill that
        with zeros). A causal network need not know.
        """
        if self.lanes:
            self.lanes.end(mask, frames)

    def reset(self, mask: Tensor | None = None) -> None:
        """Start fresh streams in the slots of `mask` (bool [slots]), or in all."""
        mask = self.all_slots if mask is None else mask
        self.stream.all.reset(mask.repeat_interleave(2) if self.lanes else mask)
        if self.lanes:
            self.lanes.reset(mask)

    def move(self, source: int, target: int) -> None:
        """Put the stream of slot `source` into slot `target`."""
        self.stream.all.move(source, target)
        if self.lanes and self.history:
            self.lanes.move(source, target)
            self.history.held[target].copy_(self.history.held[source])


class Feed:
    """The input of one stream, in pieces of any size, cut into what steps take.

    Args:
        steps: whose lead and hop it is cut by.
        empty: a piece of no length, time last.
        prime: how the stream's lookahead is handed over.
    """

    def __init__(
        self, steps: Steps, empty: Tensor, prime: Callable[[Tensor, Tensor], None]
    ) -> None:
        if steps.slots != 1:
            raise XYTError(f"push and flush serve one stream; with {steps.slots} slots use step")
        self.steps = steps
        self.empty = empty
        self.prime = prime
        self.waiting = empty
        self.primed = steps.lead == 0

    def push(self, x: Tensor) -> list[Tensor]:
        """Take a piece; the steps' inputs that are complete now, [..., hop] each."""
        self.waiting = torch.cat([self.waiting, x], dim=-1)
        if not self.primed:
            if self.waiting.shape[-1] < self.steps.lead:
                return []
            self._prime()
        hop = self.steps.hop
        whole = self.waiting.shape[-1] // hop * hop
        ready = self.waiting[..., :whole]
        self.waiting = self.waiting[..., whole:].clone()
        return list(torch.split(ready, hop, dim=-1)) if whole else []

    def flush(self) -> list[Tensor]:
        """End the stream; its last steps' inputs, filled up with zeros."""
        hop, lead = self.steps.hop, self.steps.lead
        left = self.waiting.shape[-1] + (lead if self.primed else 0)
        frames = -(-left // hop)
        if frames == 0:
            return []
        padding = frames * hop + lead - left
        self.waiting = torch.nn.functional.pad(self.waiting, (0, padding))
        if not self.primed:
            self._prime()
        self.steps.end(self.steps.all_slots, torch.full((1,), frames, device=self.steps.device))
        return self.push(self.empty)

    def _prime(self) -> None:
        lead = self.steps.lead
        self.prime(self.waiting[None, ..., :lead].to(self.steps.device), self.steps.all_slots)
        self.waiting = self.waiting[..., lead:]
        self.primed = True
