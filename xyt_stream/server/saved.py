"""Defines the message that carries live sessions from one server to another.

Everything in it is data: numbers, text, and arrays as raw bytes. A server that takes it checks each
array against the one that it replaces.
"""

from __future__ import annotations

import msgspec

from xyt_stream.protocol.roles import Voice
from xyt_stream.server.saved_arrays import Array


class _Saved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of the parts."""


class SavedSlot(_Saved, frozen=True):
    """A slot of the engine without waiting frames.

    Attributes:
        from_codes, fresh, decoding, starts, fed: see Slots.
        lead: primes the encoder, float32 [lead_samples].
        tensors: of the encoder and the decoder, by name.
    """

    from_codes: bool
    fresh: bool
    decoding: bool
    starts: bool
    fed: int
    lead: Array
    tensors: dict[str, Array]


class SavedLength(_Saved, frozen=True):
    """A stream's length; see Length."""

    samples: int
    rate: int


class SavedSlotStream(_Saved, frozen=True, tag="slot"):
    """A SlotStream; `slot` is None once it has ended."""

    pushed: int
    decoded: int
    origin: int
    primed: bool
    length: SavedLength | None
    slot: SavedSlot | None


class SavedCodeStream(_Saved, frozen=True, tag="codes"):
    """A CodeStream; `decoder` is None where nobody wants sound."""

    pushed: int
    taken: int
    origin: int
    length: SavedLength | None
    closed: bool
    decoder: SavedSlotStream | None


class SavedResampler(_Saved, frozen=True):
    """A StreamResampler; see ResamplerState."""

    taken: int
    given: int
    history: Array


class SavedFramer(_Saved, frozen=True):
    """A SoundFramer, a CodeFramer or an AnswerFramer.

    Attributes:
        pushed: frames that the sink has taken.
        taken: samples, at the client's rate.
        rest: sound that the sink has not taken, float32 [n], or codes, int64 [frames, codebooks].
        primed, flushed, resampler: of a SoundFramer.
    """

    pushed: int = 0
    taken: int = 0
    rest: Array | None = None
    primed: bool = False
    flushed: bool = False
    resampler: SavedResampler | None = None


class SavedMessage(_Saved, frozen=True):
    """A message that waits: sound, codes, or control as text.

    Attributes:
        frame, gap: of media.
        media: int16 [samples] or int64 [codebooks, frames].
        text: of a control message.
        size, received, due: of a received one, see ReceiveQueue; due is relative to now.
    """

    frame: int = 0
    gap: bool = False
    media: Array | None = None
    text: str | None = None
    size: int = 0
    received: int | None = None
    due: float = 0.0


class SavedReceiveQueue(_Saved, frozen=True):
    """A ReceiveQueue and its framer."""

    messages: list[SavedMessage]
    emptied: int
    charged: bool
    ahead: float
    taken: int | None
    ack_messages: int
    ack_bytes: int
    over: bool
    framer: SavedFramer | None


class SavedSendQueue(_Saved, frozen=True):
    """A SendQueue."""

    messages: list[SavedMessage]
    resampler: SavedResampler
    origin: int | None
    samples: int
    frames: int
    index: int
    skips: list[tuple[int, int]]
    skipped: int
    skipped_before: tuple[int, int]
    gap: bool
    cleared: int
    end: str | None


class SavedSender(_Saved, frozen=True):
    """A protocol machine and the media that the client may not have.

    Attributes:
        sent, received: media messages so far.
        receiving_over: whether the client's `end` has arrived.
        kept: the last of those sent.
    """

    sent: int
    received: int
    receiving_over: bool
    kept: list[bytes]


class SavedInterruption(_Saved, frozen=True):
    """An Interruption whose playback position is not reported yet."""

    frame: int
    played: int
    dropped: int
    heard: int
    speaking: tuple[int, ...]


class SavedConversation(_Saved, frozen=True):
    """A Conversation with a remote model."""

    pushed: int
    encoded: int
    decided: int
    heard: int
    played: int
    remote: Array
    speaking_frames: list[int]
    heard_frames: list[int]
    speaking: bool
    muted_until: int
    user_ended: bool
    model_ended: bool
    interruptions: list[SavedInterruption]
    user: SavedSlotStream | SavedCodeStream
    model: SavedCodeStream


class SavedSession(_Saved, frozen=True):
    """A session, without its streams where these are its room's.

    Attributes:
        id, key, address: see Session.
        hello: the client's, as text.
        age: seconds since it began.
        clock: samples that its FrameClock has counted.
        stream: of a mic, a loopback, an encoder or a decoder.
        conversation: of a user.
    """

    id: str
    key: str
    address: str
    hello: str
    age: float
    clock: int
    sender: SavedSender
    receive_queue: SavedReceiveQueue
    send_queue: SavedSendQueue
    stream: SavedSlotStream | SavedCodeStream | None = None
    conversation: SavedConversation | None = None


class SavedPosition(_Saved, frozen=True):
    """The place in the stream of a mic or a conversation up to which listeners have heard it.

    Attributes:
        stream: id of the mic's session, or the user's.
        next: index of its first frame that they have not heard; None: of a conversation of which
            no frame of the user's came.
        model: index of the model's first frame that they have not heard, None before any came;
            left out of a mic's.
    """

    stream: str
    next: int | None
    model: int | msgspec.UnsetType | None = msgspec.UNSET

    def first(self, voice: str | None) -> tuple[Voice, int | None]:
        """The voice that a speaker hears which asks for `voice`, and its first frame to come."""
        if voice == "model" or (voice is None and self.model is not msgspec.UNSET):
            return "model", None if self.model is msgspec.UNSET else self.model
        return "user", self.next


class SavedUnit(_Saved, frozen=True):
    """A session, or all sessions of a room: what moves at once.

    Attributes:
        model_hash: of the model that the server runs.
        room: its name; None: the one session has none.
        sessions: in the order in which they entered.
        heard: place up to which listeners have heard a mic or a conversation that is at another
            node; left out where it is among the sessions, or there is none.
    """

    model_hash: str
    room: str | None
    sessions: list[SavedSession]
    heard: SavedPosition | msgspec.UnsetType = msgspec.UNSET
