"""Holds a session's settings (audio formats, turn detection) and applies updates to them."""

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
    """Settings of the server's turn detection.

    Attributes:
        threshold: probability of speech, 0 to 1, from which on a window counts as speech.
        prefix_padding_ms: audio before the first speech that belongs to the turn.
        silence_duration_ms: silence after the last speech that ends the turn.
        create_response: whether the model may answer a turn by itself.
        interrupt_response: whether the user's speech cancels the model's response.
        idle_timeout_ms: not supported.
    """

    threshold: _Share = 0.5
    prefix_padding_ms: _Ms = 300
    silence_duration_ms: _Ms = 500
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: None = None


class _VadChange(msgspec.Struct, frozen=True):
    type: Literal["server_vad", "semantic_vad"] | UnsetType | None = UNSET
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
    speed: float | UnsetType | None = UNSET  # only its type is checked: the model has one speed


class AudioChange(msgspec.Struct, frozen=True):
    """The field "audio" of an update, or of a response that the client asks for."""

    input: _InputChange | UnsetType | None = UNSET
    output: _OutputChange | UnsetType | None = UNSET


class Change(msgspec.Struct, frozen=True):
    """The fields of `session.update` that this server applies."""

    type: str = ""
    output_modalities: tuple[str, ...] | UnsetType | None = UNSET
    audio: AudioChange | UnsetType | None = UNSET


class Settings(msgspec.Struct, frozen=True):
    """The settings in force. `turn_detection` None: the client commits each turn."""

    input: AudioFormat = PcmFormat()
    output: AudioFormat = PcmFormat()
    turn_detection: ServerVad | None = ServerVad()

    @property
    def live(self) -> bool:
        """Whether the model gets all audio as it arrives, and may respond at any time."""
        return self.turn_detection is not None and self.turn_detection.create_response

    def changed(self, change: Change) -> Settings:
        """Returns the settings after an update.

        Raises:
            EventError: the update asks for something unsupported; the settings stay as they are.
        """
        _check_type(change.type)
        check_modalities(change.output_modalities, "session.output_modalities")
        audio = change.audio or AudioChange()
        new_input, new_output = audio.input or _InputChange(), audio.output or _OutputChange()
        turns = self.turn_detection
        if new_input.turn_detection is None:
            turns = None
        elif isinstance(new_input.turn_detection, _VadChange):
            given = msgspec.structs.asdict(new_input.turn_detection)
            known = {
                name: value
                for name, value in given.items()
                if name != "type" and value is not UNSET and value is not None
            }
            turns = msgspec.structs.replace(turns or ServerVad(), **known)
        return Settings(new_input.format or self.input, new_output.format or self.output, turns)

    def audio(self) -> dict[str, Any]:
        """The session's field "audio"."""
        return {
            "input": {
                "format": self.input,
                "turn_detection": self.turn_detection,
                "transcription": None,
                "noise_reduction": None,
            },
            "output": {"format": self.output, "speed": 1.0},
        }


def _check_type(asked: str) -> None:
    """Raises EventError if an update is for another type of session."""
    if not asked:
        code, message = "missing_required_parameter", "Missing required parameter: 'session.type'."
    elif asked == "transcription":
        code = "invalid_parameter"
        message = (
            "Passing a transcription session update event to a realtime session is not allowed."
        )
    elif asked != "realtime":
        code, message = "invalid_value", "Sessions here are of type 'realtime'."
    else:
        return
    raise EventError(code, message, "session.type")


def check_modalities(asked: tuple[str, ...] | UnsetType | None, param: str) -> None:
    """Refuses output modalities without audio.

    Raises:
        EventError: only text or another modality is asked for.
    """
    if asked and "audio" not in asked:
        raise EventError("invalid_value", 'This model outputs audio only: use ["audio"].', param)
