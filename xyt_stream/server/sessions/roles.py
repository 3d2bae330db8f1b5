"""The part that a role gives a session: where in the server what it sends goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.protocol.messages import Ready
from xyt_stream.server.duplex.conversation import Conversation
from xyt_stream.server.engine.slot_stream import Voice
from xyt_stream.server.sessions.framing import (
    AnswerIntake,
    CodesIntake,
    Intake,
    SoundIntake,
    Spoken,
)
from xyt_stream.server.sessions.send_queue import Outlet

if TYPE_CHECKING:
    from xyt_stream.server.service import Service


@dataclass(frozen=True)
class Part:
    """What a session plays in the server.

    Attributes:
        intake: takes in what the client sends; None for who only hears.
        conversation: a user's.
    """

    intake: Intake | None = None
    conversation: Conversation | None = None


@contextmanager
def part(service: Service, ready: Ready, voice: str | None, outlet: Outlet) -> Iterator[Part]:
    """A session's, until it ends.

    Args:
        ready: what the session was promised.
        voice: whom it wants to hear, as in `hello`.
        outlet: what it hears.

    Raises:
        ProtocolError: busy, room_has_mic, room_full and others.
    """
    engine, rooms = service.engine, service.rooms
    codec = engine.codec

    def sound(voice: Spoken) -> SoundIntake:
        return SoundIntake(
            voice, ready.send_rate, codec.input_rate, codec.frame_samples_in, engine.lead_samples
        )

    if ready.role == "speaker":
        assert ready.room is not None
        with rooms.join(ready.room, outlet, voice):
            yield Part()
    elif ready.role == "mic":
        assert ready.room is not None
        with rooms.speak(ready.room, outlet) as spoken:
            yield Part(sound(spoken))
    elif ready.role == "user":
        with rooms.converse(ready.room, outlet, ready.session) as conversation:
            conversation.tell_user = outlet.tell
            yield Part(sound(conversation), conversation)
    elif ready.role == "model":
        assert ready.room is not None
        most = max(1, round(service.limits.ahead / FRAME_SECONDS))
        with rooms.answer(ready.room, outlet) as room:
            yield Part(AnswerIntake(room, outlet, most))
    else:
        own = Voice(engine, outlet, from_codes=ready.send == "codes")
        try:
            if ready.send == "codes":
                yield Part(CodesIntake(own, codec.output_rate, codec.frame_samples_out))
            else:
                yield Part(sound(own))
        finally:
            own.close()
