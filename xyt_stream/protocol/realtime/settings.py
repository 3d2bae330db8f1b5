"""What a session is set to: formats of sound and turn detection, and how an update changes them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from xyt_stream.errors import EventError

PCM_RATE: Literal[24_000] = 24_000  # Hz; the protocol has no other for PCM
G711_RATE = 8_000  # Hz


class PcmFormat(msgspec.Struct, frozen=True, tag_field="type", tag="audio/pcm"):
    """16-bit little-endian samples at 24 kHz, mono."""

    rate: Literal[24_000] = PCM_RATE


class UlawFormat(msgspec.Struct, frozen=True, tag_field="type", tag="audio/pcmu"):
    """G.711 u-law at 8 kHz."""

    rate: ClassVar[int] = G711_RATE


class AlawFormat(msgspec.Struct, frozen=True, tag_field="type", tag="audio/pcma"):
    """G.711 A-law at 8 kHz."""

    rate: ClassVar[int] = G711_RATE


AudioFormat: TypeAlias = PcmFormat | UlawFormat | AlawFormat

_Ms = Annotated[int, Meta(ge=0, le=10_000)]
_Share = Annotated[float, Meta(ge=0, le=1)]


class ServerVad(msgspec.Struct, frozen=True, tag_field="type", tag="server_vad"):
    """The server finds the turns.

    Attributes:
        threshold: how sure it must be that it hears speech, 0 to 1.
        prefix_padding_ms: sound before the first that is speech which belongs to the turn.
        silence_duration_ms: after the last that is speech until the turn is over.
        create_response: the model may answer a turn by itself.
        interrupt_response: the user's voice cuts the model off.
        idle_timeout_ms: there is none.
    """

    threshold: _Share = 0.5
    prefix_padding_ms: _Ms = 300
    silence_duration_ms: _Ms = 500
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: None = None


class _VadChange(msgspec.Struct, frozen=True):
    type: Literal["server_vad", "semantic_vad"]
    threshold: _Share | UnsetType | None = UNSET
    prefix_padding_ms: _Ms | UnsetType | None = UNSET
    silence_duration_ms: _Ms | UnsetType | None = UNSET
    create_response: bool | UnsetType | None = UNSET
    interrupt_response: bool | UnsetType | None = UNSET


class _InputChange(msgspec.Struct, frozen=True):
    format: AudioFormat | UnsetType | None = UNSET
    turn_detection: _VadChange | UnsetType | None = UNSET


class _OutputChange(msgspec.Struct, frozen=True):
    format: AudioFormat | UnsetType | None = UNSET
    speed: float | UnsetType | None = UNSET


class _AudioChange(msgspec.Struct, frozen=True):
    input: _InputChange | UnsetType | None = UNSET
    output: _OutputChange | UnsetType | None = UNSET


class Change(msgspec.Struct, frozen=True):
    """What `session.update` asks for, as far as it can mean anything here."""

    type: str = ""
    output_modalities: tuple[str, ...] | UnsetType | None = UNSET
    audio: _AudioChange | UnsetType | None = UNSET


class Settings(msgspec.Struct, frozen=True):
    """What is in force. `turn_detection` None: the client says when a turn is over."""

    input: AudioFormat = PcmFormat()
    output: AudioFormat = PcmFormat()
    turn_detection: ServerVad | None = ServerVad()

    @property
    def live(self) -> bool:
        """Whether the model hears all sound as it comes, and answers when it likes."""
        return self.turn_detection is not None and self.turn_detection.create_response

    def changed(self, change: Change) -> Settings:
        """The settings after an update.

        Raises:
            EventError: it asks for what cannot be had. Nothing has changed then.
        """
        if change.type != "realtime":
            raise EventError(
                "invalid_value", "Sessions here are of type 'realtime'.", "session.type"
            )
        check_modalities(change.output_modalities, "session.output_modalities")
        audio = change.audio or _AudioChange()
        heard, said = audio.input or _InputChange(), audio.output or _OutputChange()
        if said.speed not in (UNSET, None, 1):
            raise EventError(
                "invalid_value", "The model speaks at its own speed.", "session.audio.output.speed"
            )
        turns = self.turn_detection
        if heard.turn_detection is None:
            turns = None
        elif isinstance(heard.turn_detection, _VadChange):
            given = msgspec.structs.asdict(heard.turn_detection)
            known = {
                name: value
                for name, value in given.items()
                if name != "type" and value is not UNSET and value is not None
            }
            turns = msgspec.structs.replace(turns or ServerVad(), **known)
        return Settings(heard.format or self.input, said.format or self.output, turns)

    def audio(self) -> dict[str, Any]:
        """As a session's "audio" tells it."""
        return {
            "input": {
                "format": self.input,
                "turn_detection": self.turn_detection,
                "transcription": None,
                "noise_reduction": None,
            },
            "output": {"format": self.output, "speed": 1.0},
        }


def check_modalities(asked: tuple[str, ...] | UnsetType | None, param: str) -> None:
    """Refuses text.

    Raises:
        EventError: something else than sound is wanted.
    """
    if asked and tuple(asked) != ("audio",):
        raise EventError("invalid_value", 'This model speaks only sound: ask for ["audio"].', param)
