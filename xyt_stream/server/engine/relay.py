"""Replaces the engine in a server without a codec, which passes codes on and steps nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from xyt_stream.audio import Samples
from xyt_stream.edge.manifest import read
from xyt_stream.edge.streams import DEFAULT
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.slot_engine import SlotOwner
from xyt_stream.server.engine.timings import Timings
from xyt_stream.server.saved import SavedSlot


@dataclass(frozen=True)
class RelayedCodec:
    """The codec whose codes are relayed; see CodecShape."""

    name: str
    hash: str
    num_codebooks: int
    codebook_size: int
    input_rate: int
    output_rate: int
    frame_samples_in: int
    frame_samples_out: int
    causal: bool = True


class RelayEngine:
    """An engine without slots and without a thread; see SlotEngine. It needs no torch.

    Attributes:
        codec: the default model in the package.
        timings: empty: nothing is ever stepped.

    Raises:
        ModelError: the package holds no exported model.
    """

    slots = 0
    free_slots = 0
    lead_samples = 0
    has_codec = False
    alive = True

    def __init__(self) -> None:
        manifest = read(DEFAULT)
        self.timings = Timings()
        self.codec = RelayedCodec(
            name=manifest.name,
            hash=manifest.hash,
            num_codebooks=manifest.num_codebooks,
            codebook_size=manifest.codebook_size,
            input_rate=manifest.input_rate,
            output_rate=manifest.output_rate,
            frame_samples_in=manifest.frame_samples_in,
            frame_samples_out=manifest.frame_samples_out,
        )
        self.delays = (manifest.encoder.delay, manifest.decoder.delay)
        self.delay_samples = manifest.decoder.delay_samples

    def warm_up(self) -> None:
        """Does nothing."""

    def start(self) -> None:
        """Does nothing."""

    def stop(self) -> None:
        """Does nothing."""

    def check_free(self) -> NoReturn:
        """Raises ProtocolError, no_codec."""
        raise no_codec()

    def open_slot(self, owner: SlotOwner, *, from_codes: bool) -> NoReturn:
        """Raises ProtocolError, no_codec."""
        raise no_codec()

    def close_slot(self, slot: int) -> NoReturn:
        """There is no slot."""
        raise AssertionError(slot)

    def set_decoding(self, slot: int, wanted: bool) -> NoReturn:
        """There is no slot."""
        raise AssertionError(slot)

    def prime(self, slot: int, samples: Samples) -> NoReturn:
        """There is no slot."""
        raise AssertionError(slot)

    def push(self, slot: int, frame: Samples | CodeArray) -> NoReturn:
        """There is no slot."""
        raise AssertionError(slot)

    async def save_slot(self, slot: int) -> NoReturn:
        """There is no slot."""
        raise AssertionError(slot)

    async def load_slot(self, slot: int, saved: SavedSlot) -> NoReturn:
        """There is no slot."""
        raise AssertionError(slot)

    def end(self, slot: int, left: int = 0, last: Samples | None = None) -> NoReturn:
        """There is no slot."""
        raise AssertionError(slot)


def no_codec() -> ProtocolError:
    """The error for a client that sends or wants sound."""
    return protocol_error(
        "no_codec",
        "This server passes on codes only: use a client that has the codec (--codec here).",
    )
