"""Connects a session to the streams that its role sends and receives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.errors import HandoverError
from xyt_stream.protocol.messages import Ready
from xyt_stream.server.duplex.conversation import Conversation
from xyt_stream.server.engine.code_stream import CodeStream, load_stream
from xyt_stream.server.engine.slot_stream import SlotStream
from xyt_stream.server.saved import SavedSession
from xyt_stream.server.sessions.framing import (
    AnswerFramer,
    CodeFramer,
    CodeSink,
    Framer,
    FrameSink,
    SoundFramer,
)
from xyt_stream.server.sessions.resources import Resources
from xyt_stream.server.sessions.send_queue import SendQueue


@dataclass(frozen=True)
class RoleStreams:
    """The streams of a session.

    Attributes:
        framer: takes the client's media; None if the client only listens.
        conversation: of a user; None for other roles.
        stream: of a mic, a loopback, an encoder or a decoder; None for other roles.
    """

    framer: Framer | None = None
    conversation: Conversation | None = None
    stream: SlotStream | CodeStream | None = None

    async def settled(self) -> None:
        """Waits until all that the streams have taken in has come out."""
        for stream in (self.stream, self.conversation):
            if stream is not None:
                await stream.settled()

    async def load(self, saved: SavedSession) -> None:
        """Has the streams go on as those of another server, before any frame was pushed.

        Raises:
            HandoverError: they do not fit.
        """
        if self.stream is not None and saved.stream is not None:
            await load_stream(self.stream, saved.stream)
        elif self.stream is not None or saved.stream is not None:
            raise HandoverError("a session's stream does not fit its role")
        if self.conversation is not None and saved.conversation is not None:
            await self.conversation.load(saved.conversation)
        elif self.conversation is not None or saved.conversation is not None:
            raise HandoverError("a session's conversation does not fit its role")


@contextmanager
def open_streams(
    resources: Resources,
    ready: Ready,
    voice: str | None,
    send_queue: SendQueue,
    *,
    moved: bool = False,
) -> Iterator[RoleStreams]:
    """Opens the streams of a session's role while the block runs.

    Args:
        resources: of the server.
        ready: the server's answer to the client.
        voice: which stream a speaker asks for, see Rooms.
        send_queue: receives what the client hears.
        moved: whether the session began on another server.

    Raises:
        ProtocolError: busy, room_has_mic, room_full and others.
    """
    engine, rooms = resources.engine, resources.rooms
    codec = engine.codec

    def sound(sink: FrameSink) -> SoundFramer:
        return SoundFramer(
            sink, ready.send_rate, codec.input_rate, codec.frame_samples_in, engine.lead_samples
        )

    def codes(sink: CodeSink) -> CodeFramer:
        most = codec.num_codebooks if ready.role == "decode" else None
        return CodeFramer(sink, codec.output_rate, codec.frame_samples_out, most)

    from_codes = ready.send in ("codes", "sealed")
    if ready.role == "speaker":
        assert ready.room is not None
        with rooms.add_speaker(ready.room, send_queue, voice, moved=moved):
            yield RoleStreams()
    elif ready.role == "mic":
        assert ready.room is not None
        with rooms.add_mic(
            ready.room, send_queue, ready.session, from_codes=from_codes, moved=moved
        ) as mic:
            framed = codes(mic) if isinstance(mic, CodeStream) else sound(mic)
            yield RoleStreams(framed, stream=mic)
    elif ready.role == "user":
        with rooms.add_user(
            ready.room,
            send_queue,
            ready.session,
            from_codes=from_codes,
            sealed=ready.send == "sealed",
            moved=moved,
        ) as conversation:
            conversation.send_to_user = send_queue.put_control
            framer = codes(conversation) if from_codes else sound(conversation)
            yield RoleStreams(framer, conversation)
    elif ready.role == "model":
        assert ready.room is not None
        limit = max(1, round(resources.limits.ahead / FRAME_SECONDS))
        with rooms.add_model(ready.room, send_queue, moved=moved) as room:
            yield RoleStreams(AnswerFramer(room, send_queue, limit))
    elif from_codes:
        with closing(CodeStream(engine, send_queue)) as code_stream:
            yield RoleStreams(codes(code_stream), stream=code_stream)
    else:
        with closing(SlotStream(engine, send_queue, from_codes=False)) as stream:
            yield RoleStreams(sound(stream), stream=stream)
