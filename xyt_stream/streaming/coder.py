"""Holds the common part of live encoder and decoder: slots, lookahead, ends, compiled steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from xyt_stream.edge.step import Step
from xyt_stream.errors import ModelError, XYTError
from xyt_stream.model import torch_internals
from xyt_stream.model.precision import without_autocast
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.compiled_step import CompiledStep
from xyt_stream.streaming.exported_decoder import OnnxStep
from xyt_stream.streaming.feed import Feed
from xyt_stream.streaming.graphs import CudaCapture, Graphs
from xyt_stream.streaming.lookahead import Lanes, LookaheadBuffer
from xyt_stream.streaming.overlapped_stream import OverlappedStream
from xyt_stream.streaming.stream import Stream
from xyt_stream.streaming.traces import Traces


class StreamCoder:
    """One half of a codec on `slots` live streams side by side.

    A fresh slot of a bidirectional network is first primed with `lead` items (samples or frames),
    its lookahead; after that each step takes `hop` items in and gives one frame out.

    Args:
        modules: the half of the network.
        slots: streams side by side.
        lookahead: frames that a bidirectional network sees beyond the one it gives out.
        hop, ahead: items of input in a frame, and beyond the last frame of a step.
        channels: of the network's input, before its time axis.

    Attributes:
        lead: items that a fresh slot is primed with; 0 for a causal network.
        all_slots: `active` or `mask` of every slot, bool [slots].
        stream: the timeline of all slots, with their state.
        lanes, history: of a bidirectional network, else None.

    Raises:
        ModelError: a lookahead that this network cannot have.
    """

    def __init__(
        self,
        network: Tokenizer,
        modules: list[nn.Module],
        slots: int,
        *,
        lookahead: int,
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
        self.history: LookaheadBuffer | None = None
        self.stream: Stream
        if config.causal:
            self.stream = Stream(config, modules, slots=slots, frames=1, device=self.device)
        else:
            self.lanes = Lanes(slots, config.context, lookahead, self.device)
            self.history = LookaheadBuffer(slots, (*channels, hop + self.lead), hop, self.device)
            self.stream = OverlappedStream(config, modules, self.lanes, self.device)
        self._modules = [*modules, network.quantizer]
        self._compiled: CompiledStep | None = None
        self._feed: Feed | None = None
        self._busy = threading.Lock()

    def run(
        self, x: Tensor, active: Tensor, chosen: Tensor | None = None, lane: int | None = None
    ) -> Tensor:
        """One step as it is written; traces and graphs are made from it.

        It reads no value back from the device.

        Args:
            x, active, chosen: as for `step`.
            lane: the only lane that runs, the result of `sole_lane`; None: both, or there are none.
        """
        raise NotImplementedError

    @torch.inference_mode()
    def prime(self, x: Tensor, mask: Tensor) -> None:
        """Give fresh slots of `mask` (bool [slots]) their lookahead.

        Args:
            x: as the input of a step, but with `lead` items: samples [slots, lead] or codes
                [slots, codebooks, lead].
        """
        if self.history:
            self.history.prime(self._network_input(x), mask)

    def _network_input(self, x: Tensor) -> Tensor:
        """Samples or codes, [slots, ..., time], as the network takes them."""
        return x

    def compile(self, graph: Step | None = None) -> None:
        """Make later steps run without Python between their operations, where that can be.

        On a CPU the steps of a causal network are traced, each kind when it is first taken. On a
        GPU a step of every bucket of slots is captured at once, which takes seconds.

        Args:
            graph: this half, exported, for steps on a CPU.
        """
        if self.device.type == "cuda":
            rows = self._blank_input().to(self.device)
            self._compiled = Graphs(self.run, rows, CudaCapture(self.device))
        elif self.device.type == "cpu" and not self.lanes and torch_internals.supported():
            traces = Traces(self.run, self._modules, self.stream.all)
            self._compiled = traces
            names = {module: name for name, module in self.network.named_modules()}
            state = self.stream.all.named(names)
            if graph is not None and OnnxStep.fits(graph, state):
                self._compiled = OnnxStep(graph, state, traces)

    def _blank_input(self) -> Tensor:
        """Input of a step of all slots, on the CPU."""
        raise NotImplementedError

    def _step(self, x: Tensor, active: Tensor, chosen: Tensor | None, *, whole: bool) -> Tensor:
        """One step, compiled if it can be, in float32 under a caller's autocast too.

        Args:
            whole: whether `x` is as `_blank_input`, but for its number of rows.
        """
        with torch.inference_mode(), without_autocast(self.device):
            if self._compiled and whole and self._compiled.serves(active, chosen):
                made = self._compiled(x, active, chosen)
            else:
                made = self.run(x, active, chosen, self.sole_lane(active))
        if torch.is_inference_mode_enabled():
            return made
        return made.clone()  # so that the caller may change it and train on it

    def sole_lane(self, active: Tensor) -> int | None:
        """The only lane that a step must run, on a CPU; None: both, or there are no lanes.

        On a GPU it is None: reading the answer back would wait for all earlier work.
        """
        return self.lanes.sole(active) if self.lanes and self.device.type == "cpu" else None

    def _begin(self, x: Tensor, active: Tensor, chosen: Tensor | None, lane: int | None) -> Tensor:
        """Start a step; returns the input of the network, [rows or 2 * rows, ...].

        Args:
            x: [rows, ..., hop]; of a causal network, of `chosen` slots if there are any.
        """
        if not isinstance(self.stream, OverlappedStream) or self.history is None:
            self.stream.begin(active, 1, 1, chosen)
            return x
        assert chosen is None
        seen = self.history.push(x, active)
        self.stream.enter(active, lane)
        return seen.repeat_interleave(2, dim=0) if lane is None else seen

    def _finish(self, active: Tensor) -> None:
        """End the step."""
        self.stream.finish()
        if self.lanes:
            self.lanes.finish(active)

    def end(self, mask: Tensor, frames: Tensor) -> None:
        """Note that slots of `mask` (bool [slots]) have `frames` (int64 [slots]) left to give out.

        Call it before the first step whose input reaches beyond the stream's end, and fill that
        input up with zeros. A causal network ignores it.
        """
        if self.lanes:
            self.lanes.end(mask, frames)

    def move(self, source: int, target: int) -> None:
        """Copy the stream of slot `source` into slot `target`."""
        self.stream.all.move(source, target)
        if self.history:
            self.history.held[target].copy_(self.history.held[source])
        if self.lanes:
            self.lanes.move(source, target)

    def slot_tensors(self, slot: int) -> dict[str, Tensor]:
        """All that the stream of a slot remembers, by name, as views that may be written to.

        The names and shapes are those of every coder of this kind, model and lookahead.
        """
        names = {
            layer: f"{number}.{name}"
            for number, module in enumerate(self._modules)
            for name, layer in module.named_modules()
        }
        found = self.stream.all.slot(slot, names)
        if self.history:
            found["history"] = self.history.held[slot]
        if self.lanes:
            found |= {f"lanes.{name}": each for name, each in self.lanes.slot(slot).items()}
        return found

    def reset(self, mask: Tensor | None = None) -> None:
        """Start fresh streams in the slots of `mask` (bool [slots]), or in all."""
        mask = self.all_slots if mask is None else mask
        self.stream.all.reset(mask.repeat_interleave(2) if self.lanes else mask)
        if self.lanes:
            self.lanes.reset(mask)
        self._feed = None

    @contextmanager
    def _one_stream(self) -> Iterator[None]:
        """Around `push` and `flush`, which serve one stream and one thread at a time.

        Raises:
            XYTError: there are several slots, or another thread is inside.
        """
        if self.slots != 1:
            raise XYTError(f"push and flush serve one stream; with {self.slots} slots use step")
        if not self._busy.acquire(blocking=False):
            raise XYTError(
                "a stream belongs to one thread: another one is in push or flush; "
                "nothing of this call was taken"
            )
        try:
            yield
        finally:
            self._busy.release()

    def inputs(self, x: Tensor) -> list[Tensor]:
        """The inputs of steps, of one slot, that `push` of `x` takes.

        Args:
            x: [any length] or [codebooks, any length], on the CPU.

        Returns:
            [1, 1280] or [1, codebooks] each, on the model's device.
        """
        if self._feed is None:
            self._feed = Feed(
                x[..., :0],
                hop=self.hop,
                lead=self.lead,
                prime=lambda first: self.prime(first[None].to(self.device), self.all_slots),
                end=lambda left: self.end(
                    self.all_slots, torch.full((1,), left, device=self.device)
                ),
            )
        return self._rows(self._feed.push(x))

    def last_inputs(self) -> list[Tensor]:
        """The inputs of steps that `flush` takes, as `inputs` gives them."""
        return self._rows(self._feed.flush()) if self._feed else []

    def _rows(self, inputs: list[Tensor]) -> list[Tensor]:
        return [x.reshape(1, -1).to(self.device) for x in inputs]
