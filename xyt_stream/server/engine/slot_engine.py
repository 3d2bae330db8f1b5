"""Defines the interface of an engine to its sessions, with a codec or in a relay."""

from __future__ import annotations

from typing import Protocol

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.timings import Timings
from xyt_stream.server.saved import SavedSlot


class CodecShape(Protocol):
    """The rates and sizes of a codec; see Codec."""

    @property
    def name(self) -> str:
        """Of the model."""

    @property
    def hash(self) -> str:
        """SHA-256 of the model, in hexadecimal."""

    @property
    def num_codebooks(self) -> int:
        """Codes in a frame."""

    @property
    def codebook_size(self) -> int:
        """Values of a code."""

    @property
    def input_rate(self) -> int:
        """Hz."""

    @property
    def output_rate(self) -> int:
        """Hz."""

    @property
    def frame_samples_in(self) -> int:
        """Samples in a frame at the input rate."""

    @property
    def frame_samples_out(self) -> int:
        """Samples in a frame at the output rate."""

    @property
    def causal(self) -> bool:
        """Whether streaming equals offline coding."""


class SlotOwner(Protocol):
    """Holds a slot and receives its results. Called on the event loop's thread."""

    def on_step(self, codes: CodeArray | None, sound: Samples | None, starts: bool) -> None:
        """Takes the results of a step.

        Args:
            codes: of the slot's next frame, int64 [codebooks]; None where only sound is left.
            sound: of the next frame that the decoder gives out, float32 [frame_samples_out].
            starts: whether the decoder began with these codes.
        """

    def on_end(self, tail: Samples) -> None:
        """Takes the decoder's tail, float32 [delay_samples], which follows the last frame."""

    def on_error(self) -> None:
        """The device has failed in a step with this slot: no more results come."""


class SlotEngine(Protocol):
    """Steps slots; see Engine. All methods are for the event loop's thread.

    Attributes:
        timings: durations of the latest steps.
        slots: number of them.
        has_codec: whether it encodes and decodes; otherwise it has no slots.
    """

    timings: Timings
    slots: int
    has_codec: bool

    @property
    def codec(self) -> CodecShape:
        """The codec that it steps, or whose codes are relayed."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    @property
    def free_slots(self) -> int:
        """Number of free slots."""

    @property
    def lead_samples(self) -> int:
        """Samples that a slot's encoder needs before its first frame."""

    @property
    def delay_samples(self) -> int:
        """Samples at the codec's output rate by which a slot's sound lags behind its frames."""

    @property
    def delays(self) -> tuple[float, float]:
        """Algorithmic delay of encoding and of decoding, in seconds."""

    def warm_up(self) -> None:
        """Prepares all steps, before `start`."""

    def start(self) -> None:
        """Starts the thread; results come to the event loop that runs now."""

    def stop(self) -> None:
        """Ends the thread after its current step."""

    def check_free(self) -> None:
        """Raises ProtocolError if no slot is free: busy; no_codec."""

    def open_slot(self, owner: SlotOwner, *, from_codes: bool) -> int:
        """Takes a free slot and returns its number; it is fed with codes or with sound.

        Raises:
            ProtocolError: busy: no slot is free; no_codec.
        """

    def close_slot(self, slot: int) -> None:
        """Frees a slot and drops all that waits in it."""

    def set_decoding(self, slot: int, wanted: bool) -> None:
        """Turns decoding of the next frames on or off; see Slots."""

    def prime(self, slot: int, samples: Samples) -> None:
        """Gives a slot's encoder its lookahead, float32 [lead_samples]."""

    def push(self, slot: int, frame: Samples | CodeArray) -> None:
        """Adds a frame to a slot's ring; see Slots."""

    async def save_slot(self, slot: int) -> SavedSlot:
        """The state of a slot in which no frame waits, for another server."""

    async def load_slot(self, slot: int, saved: SavedSlot) -> None:
        """Gives an open slot, into which no frame was pushed, the state of another server's.

        Raises:
            HandoverError: the state is that of another model or setting.
        """

    def end(self, slot: int, left: int = 0, last: Samples | None = None) -> None:
        """Ends a slot's input; see Slots."""
