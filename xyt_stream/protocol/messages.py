"""The messages of xyt.v1 and their bytes: JSON text for control, a 12-byte header for media.

Reading ignores what it does not know (`None`), so that types, kinds, fields and flags may be added.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import msgspec

from xyt_stream.protocol.error_table import protocol_error

SUBPROTOCOL = "xyt.v1"
MAX_MESSAGE = 256 * 1024  # bytes; 2.7 s of sound at 48 kHz
RATES = (8_000, 16_000, 24_000, 32_000, 44_100, 48_000)  # Hz
PCM_FORMAT = "pcm_s16le"
MAX_NAME = 64  # characters of a room's name

_HEADER = struct.Struct("<BBxxII")  # kind, flags, two reserved bytes, sequence number, frame index


class Control(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of the JSON messages; "type" holds the tag."""


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """Which session to take up again, and where."""

    token: str  # as `ready` gave it
    received: int | None = None  # sequence number of the last media message that arrived here
    ended: bool = False  # in `ready`: the client's `end` has arrived


class Hello(Control, frozen=True, tag="hello"):
    """The client's first message: who it is and what it wants."""

    role: str
    room: str | None = None
    receive: tuple[str, ...] | None = None  # "pcm", "codes"; None: the role's default
    send_rate: int | None = None  # Hz of the sound it sends; None: what the codec hears
    receive_rate: int | None = None  # Hz of the sound it gets; None: what the codec makes
    format: str = PCM_FORMAT
    voice: str | None = None  # of a speaker: whom it hears in a conversation, "user" or "model"
    token: str | None = None
    resumable: bool = False  # it says `ack`, and may come back after its connection was lost
    resume: Resume | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """The codec that the server runs."""

    name: str
    hash: str
    codebooks: int
    codebook_size: int
    input_rate: int  # Hz
    output_rate: int  # Hz
    causal: bool


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """Algorithmic delay of the codec in ms, the 80 ms that a frame takes to fill included."""

    encode: float
    decode: float


class Ready(Control, frozen=True, tag="ready"):
    """The server's first message: the session has begun."""

    session: str  # for logs and questions; opens nothing
    role: str
    send: str | None
    receive: tuple[str, ...]
    send_rate: int
    receive_rate: int
    frame_ms: float
    delay_ms: Delay
    model: Model
    room: str | None = None
    resume: Resume | None = None

    @property
    def frame_samples(self) -> int:
        """Samples in one code frame at the rate that the client sends."""
        return round(self.send_rate * self.frame_ms / 1e3)


class StepTimes(msgspec.Struct, frozen=True, kw_only=True):
    """What the server's latest steps took, in ms: encoding and decoding for all sessions."""

    median: float
    p99: float


class End(Control, frozen=True, tag="end"):
    """Nothing more comes from here. The server's tells how much it has sent in all."""

    frames: int | None = None
    samples: int | None = None
    step_ms: StepTimes | None = None


class Ack(Control, frozen=True, tag="ack"):
    """All media up to this sequence number have arrived here, and need not be kept."""

    received: int


class Ping(Control, frozen=True, tag="ping"):
    """Asks for a `pong` with the same time; the time means something to the asker only."""

    time: float


class CodingTimes(msgspec.Struct, frozen=True, kw_only=True):
    """What a step has lately taken on average, in ms, by its two halves; None: there was none."""

    encode: float | None = None
    decode: float | None = None


class Pong(Control, frozen=True, tag="pong"):
    """Answers a `ping`."""

    time: float
    coding_ms: CodingTimes | None = None


class Notice(Control, frozen=True, tag="notice"):
    """Something that the person at the other end may want to know; the session goes on."""

    name: str
    message: str


class Clear(Control, frozen=True, tag="clear"):
    """Drop what the model has said and the user has not heard."""


class Cleared(Control, frozen=True, tag="cleared"):
    """It was dropped. The server tells the model how much; the user tells the server."""

    frame: int | None = None  # of the clock: nothing of what was dropped is heard from there on
    played: int | None = None  # frames of the model's that were heard in all
    dropped: int | None = None  # frames of the model's that never will be
    unplayed: int | None = None  # samples that had arrived at the user and were not played


class Playing(Control, frozen=True, tag="playing"):
    """When the model is heard, in frames of the user's clock."""

    frame: int
    played: int  # frames of the model's that are heard before that one
    speaking: bool  # from there on the model is heard, or else silence


class Error(Control, frozen=True, tag="error"):
    """The session is over, and why. The websocket closes with `code`."""

    name: str
    message: str
    code: int
    retry_after: float | None = None  # seconds


class Kind(enum.IntEnum):
    """What a media message's payload holds."""

    PCM = 1
    CODES = 2


class Flags(enum.IntFlag):
    """Bits of a media message's header."""

    NONE = 0
    GAP = 1  # something was dropped between this message and the one before it


@dataclass(frozen=True)
class Media:
    """A binary message as it lies on the wire.

    Attributes:
        kind: one of `Kind`, or a later version's.
        flags: bits of `Flags`; unknown bits are to be ignored.
        seq: counts all binary messages of one direction, from 0.
        frame: index of the code frame that the payload belongs to, or begins with.
        payload: packed codes, or samples as int16 little-endian.
    """

    kind: int
    seq: int
    frame: int
    payload: bytes
    flags: int = Flags.NONE


Message: TypeAlias = Control | Media

_CONTROL: dict[str, type[Control]] = {
    "hello": Hello,
    "ready": Ready,
    "end": End,
    "ack": Ack,
    "ping": Ping,
    "pong": Pong,
    "notice": Notice,
    "clear": Clear,
    "cleared": Cleared,
    "playing": Playing,
    "error": Error,
}


class _Envelope(msgspec.Struct):
    type: str


def write(message: Message) -> str | bytes:
    """The bytes of a message: text for control, binary for media."""
    if isinstance(message, Media):
        header = _HEADER.pack(message.kind, message.flags, message.seq, message.frame)
        return header + message.payload
    return msgspec.json.encode(message).decode()


def read(data: str | bytes) -> Message | None:
    """The message in the bytes; None for a control type that this version does not know.

    Raises:
        ProtocolError: bad_message.
    """
    if isinstance(data, bytes):
        if len(data) < _HEADER.size:
            raise protocol_error("bad_message", "A media message is shorter than its header.")
        kind, flags, seq, frame = _HEADER.unpack_from(data)
        return Media(kind, seq, frame, data[_HEADER.size :], flags)
    known = _CONTROL.get(_parse(data, _Envelope).type)
    return None if known is None else _parse(data, known)


_T = TypeVar("_T", bound=msgspec.Struct)


def _parse(text: str, shape: type[_T]) -> _T:
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise protocol_error("bad_message", f"The message is not one of xyt.v1: {error}.") from None
