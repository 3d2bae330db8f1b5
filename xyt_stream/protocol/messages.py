"""Defines the messages of xyt.v1 and their bytes: JSON text for control, binary for media.

Unknown types, kinds, fields and flags are ignored, so that later versions may add some. The prose
description is docs/protocol.md.
"""

from __future__ import annotations

import enum
import struct
from typing import TypeAlias, TypeVar

import msgspec

from xyt_stream.protocol.error_table import protocol_error

SUBPROTOCOL = "xyt.v1"
MAX_MESSAGE = 256 * 1024  # bytes; 2.7 s of sound at 48 kHz
RATES = (8_000, 16_000, 24_000, 32_000, 44_100, 48_000)  # Hz
PCM_FORMAT = "pcm_s16le"
MAX_NAME = 64  # characters of a room's name
MAX_CODEBOOKS = 64
MAX_CODEBOOK_SIZE = 1 << 16

_HEADER = struct.Struct("<BBxxII")  # kind, flags, two reserved bytes, sequence number, frame index


class Control(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base class of the JSON messages; the field "type" holds the tag."""


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """Names the session to resume and the point to resume from."""

    token: str  # as `ready` gave it
    received: int | None = None  # sequence number of the last media message that arrived here
    ended: bool = False  # in `ready`: whether the client's `end` has arrived


class Hello(Control, frozen=True, tag="hello"):
    """The client's first message: its role, formats and credentials."""

    role: str
    room: str | None = None
    send: str | None = None  # "pcm", "codes", "sealed"; None: the role's default
    receive: tuple[str, ...] | None = None  # the same; None: the role's default
    send_rate: int | None = None  # Hz of the sound it sends; None: the codec's input rate
    receive_rate: int | None = None  # Hz of the sound it receives; None: the codec's output rate
    format: str = PCM_FORMAT
    voice: str | None = None  # speaker role: which side of a conversation it hears, "user", "model"
    model_hash: str | None = None  # of the model that its codes belong to; None: the server's
    codebooks: int | None = None  # of that model: codes of a frame; None: the server's
    codebook_size: int | None = None  # of that model: values of a code; None: the server's
    token: str | None = None
    resumable: bool = False  # it sends `ack` and may resume after its connection was lost
    resume: Resume | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Describes the codec that the server runs."""

    name: str
    hash: str
    codebooks: int
    codebook_size: int
    input_rate: int  # Hz
    output_rate: int  # Hz
    causal: bool


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """Algorithmic delay of the codec in ms, including the 80 ms that a frame takes to fill."""

    encode: float
    decode: float


class Ready(Control, frozen=True, tag="ready"):
    """The server's first message: the session is open."""

    session: str  # identifies the session in logs; grants no access
    role: str
    send: str | None  # "pcm", "codes", "sealed" or None
    receive: tuple[str, ...]  # "pcm", "codes", "sealed"
    send_rate: int  # Hz
    receive_rate: int  # Hz
    frame_ms: float
    delay_ms: Delay
    model: Model
    room: str | None = None
    resume: Resume | None = None
    node: str | None = None  # name of the server that has the session

    @property
    def frame_samples(self) -> int:
        """Samples in one code frame at the rate that the client sends."""
        return round(self.send_rate * self.frame_ms / 1e3)


class StepTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Duration in ms of the server's latest codec steps, which serve all sessions."""

    median: float
    p99: float


class End(Control, frozen=True, tag="end"):
    """The sender sends nothing more. Only the server fills the fields, with its totals."""

    frames: int | None = None
    samples: int | None = None
    step_ms: StepTimes | None = None


class Ack(Control, frozen=True, tag="ack"):
    """Acknowledges all media up to and including this sequence number."""

    received: int


class Ping(Control, frozen=True, tag="ping"):
    """Asks for a `pong` with the same time, which only the sender interprets."""

    time: float


class CodingTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Recent mean duration of a codec step in ms, by direction; None: no such step ran."""

    encode: float | None = None
    decode: float | None = None


class Pong(Control, frozen=True, tag="pong"):
    """Answers a `ping`."""

    time: float
    coding_ms: CodingTimes | None = None
    load: float | None = None  # share of real time that the server's steps take
    listeners: int | msgspec.UnsetType = msgspec.UNSET  # to a mic: speakers that hear it


class Notice(Control, frozen=True, tag="notice"):
    """Informs the user; the session goes on."""

    name: str
    message: str


class Clear(Control, frozen=True, tag="clear"):
    """Asks to drop the model's speech that the user has not heard yet."""


class Cleared(Control, frozen=True, tag="cleared"):
    """Reports the result of a `clear`: from the user to the server, from the server to the model.

    The server fills `frame`, `played` and `dropped`; the user fills `unplayed`.
    """

    frame: int | None = None  # frame of the clock from which on no dropped speech is heard
    played: int | None = None  # model frames played so far, in all
    dropped: int | None = None  # model frames that will never be played
    unplayed: int | None = None  # samples that had arrived at the user and were not played


class Playing(Control, frozen=True, tag="playing"):
    """Tells the model when its speech starts or stops playing, in frames of the user's clock."""

    frame: int
    played: int  # model frames that play before this one
    speaking: bool  # True: the model plays from this frame on; False: silence


class Error(Control, frozen=True, tag="error"):
    """Ends the session and gives the reason; the websocket then closes with `code`."""

    name: str
    message: str
    code: int
    retry_after: float | None = None  # seconds
    node: str | None = None  # `moved`: name of the server that has the session


class Kind(enum.IntEnum):
    """Content of a media message's payload."""

    PCM = 1
    CODES = 2
    SEALED = 3  # codes that the server cannot read, see sealing.py


class Flags(enum.IntFlag):
    """Bits of a media message's header."""

    NONE = 0
    GAP = 1  # something was dropped between this message and the one before it


class Media(msgspec.Struct, frozen=True):
    """A binary message.

    Attributes:
        kind: one of `Kind`, or a later version's.
        flags: bits of `Flags`; unknown bits are ignored.
        seq: sequence number; counts all binary messages of one direction, from 0.
        frame: index of the code frame that the payload belongs to, or begins with.
        payload: packed codes, or samples as int16 little-endian.
    """

    kind: int
    seq: int
    frame: int
    payload: bytes
    flags: int = 0


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


class _TypeTag(msgspec.Struct):
    type: str


def encode(message: Message) -> str | bytes:
    """Encodes a message: text for control, binary for media."""
    if isinstance(message, Media):
        return encode_media(
            message.kind, message.seq, message.frame, message.payload, message.flags
        )
    return msgspec.json.encode(message).decode()


def encode_media(kind: int, seq: int, frame: int, payload: bytes, flags: int) -> bytes:
    """Encodes a binary message; see Media."""
    return _HEADER.pack(kind, flags, seq, frame) + payload


def decode(data: str | bytes) -> Message | None:
    """Decodes a message; None for a control type that this version does not know.

    Raises:
        ProtocolError: bad_message.
    """

    if isinstance(data, bytes):
        if len(data) < _HEADER.size:
            raise protocol_error("bad_message", "A media message is shorter than its header.")
        kind, flags, seq, frame = _HEADER.unpack_from(data)
        return Media(kind, seq, frame, data[_HEADER.size :], flags)
    known = _CONTROL.get(_parse(data, _TypeTag).type)
    return None if known is None else _parse(data, known)


def decode_ack(text: str) -> Ack | None:
    """Decodes an `ack`, the most frequent control message; None: it is none, or a bad one."""
    try:
        return _ACK_DECODER.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


_ACK_DECODER = msgspec.json.Decoder(Ack)

_T = TypeVar("_T", bound=msgspec.Struct)


def _parse(text: str, shape: type[_T]) -> _T:
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise protocol_error("bad_message", f"The message is not one of xyt.v1: {error}.") from None
