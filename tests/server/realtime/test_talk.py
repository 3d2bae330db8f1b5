"""The OpenAI SDK talks with a parrot, on real sockets, through the real codec."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter

import numpy as np
import pytest
from realtime_models import KeepsPlayed, Mute, Stubborn

from xyt_stream.audio import resample, to_float32
from xyt_stream.protocol.realtime.audio_formats import AudioDecoder, AudioEncoder
from xyt_stream.protocol.realtime.settings import AlawFormat, PcmFormat, UlawFormat
from xyt_stream.server.duplex.parrot import Parrot

FORM = PcmFormat()
QUIET = np.zeros(24_000, np.int16)  # a second
FRAME = 1920  # samples of 80 ms


def base64_of(pcm):
    return base64.b64encode(pcm.tobytes() if isinstance(pcm, np.ndarray) else pcm).decode()


async def say(connection, pcm, step=2400):
    for start in range(0, len(pcm), step):
        await connection.input_audio_buffer.append(audio=base64_of(pcm[start : start + step]))


async def until(connection, kind):
    """All events up to one of this type."""

    async def gather():
        events = []
        async for event in connection:
            events.append(event)
            if event.type == kind:
                return events
            assert event.type != "error", event.error
        raise AssertionError(f"no {kind} came, but {[event.type for event in events]}")

    return await asyncio.wait_for(gather(), 120)


def sound(events):
    deltas = [event.delta for event in events if event.type == "response.output_audio.delta"]
    return b"".join(map(base64.b64decode, deltas))


@pytest.fixture
def until_played(until):
    """Waits until the model gets so many frames reported as played."""

    async def wait(frames):
        await until(lambda: KeepsPlayed.played[-1:] == [frames])

    return wait


@pytest.fixture
def likeness(codec):
    """Returns the likeness, 0 to 1, of received sound and sent sound after the codec alone."""

    def likeness(said, heard, form=FORM):
        reader = AudioDecoder(form, codec.input_rate)
        samples = np.concatenate([reader.decode(said), reader.flush(), np.zeros(1280, np.float32)])
        wanted = codec.decode(codec.encode(samples)).numpy()
        again = AudioDecoder(form, codec.output_rate)
        got = np.concatenate([again.decode(heard), again.flush()])
        # Both are cut to what is loud, and laid over each other.
        loud = np.flatnonzero(np.abs(wanted) > 0.05)
        wanted = wanted[loud[0] + 4000 : loud[-1] - 4000]
        size = len(got) + len(wanted)
        spectrum = np.fft.rfft(got, size) * np.conj(np.fft.rfft(wanted, size))
        at = int(np.fft.irfft(spectrum, size)[: len(got) - len(wanted)].argmax())
        return np.corrcoef(wanted, got[at : at + len(wanted)])[0, 1]

    return likeness


async def test_a_turn_is_repeated(talking, sdk, speech, likeness, until_free):
    async with talking(Parrot) as server:
        async with sdk(server) as connection:
            said = np.concatenate([QUIET[:12_000], speech, QUIET])
            await say(connection, said)
            events = await until(connection, "response.done")
        await until_free(server)
    types = [event.type for event in events]
    once = Counter(types)
    del once["response.output_audio.delta"]
    assert set(once.values()) <= {1, 2}
    assert types[0] == "session.created"
    order = [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "response.created",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.done",
    ]
    assert [types.index(kind) for kind in order] == sorted(types.index(kind) for kind in order)
    done = events[-1].response
    assert done.status == "completed", done.status_details
    heard = sound(events)
    assert len(heard) % (1920 * 2) == 0  # whole frames of 80 ms
    assert likeness(said.tobytes(), heard) > 0.9


async def test_manual_turns_are_repeated(talking, sdk, speech, likeness):
    async with talking(Parrot) as server, sdk(server) as connection:
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        )
        updated = (await until(connection, "session.updated"))[-1]
        assert updated.session.audio.input.turn_detection is None
        for _ in range(2):
            await say(connection, speech)
            await connection.input_audio_buffer.commit()
            committed = await until(connection, "conversation.item.done")
            assert [event.type for event in committed] == [
                "input_audio_buffer.committed",
                "conversation.item.added",
                "conversation.item.done",
            ]
            await connection.response.create()
            events = await until(connection, "response.done")
            assert events[-1].response.status == "completed"
            assert likeness(speech.tobytes(), sound(events)) > 0.9
        await connection.input_audio_buffer.commit()
        (error,) = await until(connection, "error")
        assert error.error.code == "input_audio_buffer_commit_empty"


async def push_to_talk(connection):
    await connection.session.update(
        session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    )
    await until(connection, "session.updated")


async def committed_turn(connection, said):
    """The events of the response to a turn that the client commits."""
    await say(connection, said)
    await connection.input_audio_buffer.commit()
    await connection.response.create()
    return await until(connection, "response.done")


@pytest.mark.parametrize("pause", [0.3, 1.0])
async def test_a_pause_does_not_end_a_committed_turn(talking, sdk, speech, likeness, pause):
    said = np.concatenate([speech, np.zeros(round(pause * 24_000), np.int16), speech])
    async with talking(Parrot) as server, sdk(server) as connection:
        await push_to_talk(connection)
        for _ in range(2):
            events = await committed_turn(connection, said)
            assert events[-1].response.status == "completed"
            # A parrot takes a second of silence for the end of a turn, and says the last again.
            answered = said if pause < 0.5 else said[-(-len(speech) // FRAME) * FRAME :]
            assert len(sound(events)) >= 2 * len(speech)
            assert likeness(answered.tobytes(), sound(events)) > 0.9


async def test_an_answer_in_the_silence_of_a_committed_turn_is_heard(
    talking, sdk, speech, likeness
):
    """A user that releases the button late hears the whole answer, too."""
    async with talking(Parrot) as server, sdk(server) as connection:
        await push_to_talk(connection)
        events = await committed_turn(connection, np.concatenate([speech, QUIET, QUIET, QUIET]))
        assert likeness(speech.tobytes(), sound(events)) > 0.9


async def test_hearing_begins_before_the_answer_is_asked_for(talking, sdk, speech, until):
    waiting = until
    async with talking(Parrot) as server, sdk(server) as connection:
        await push_to_talk(connection)
        (session,) = server.service._sessions.values()
        await say(connection, np.concatenate([speech, QUIET]))
        await waiting(lambda: session._feed._fed >= 36)  # of 38 frames
        assert session.queued == 0
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        events = [(await connection.recv()).type for _ in range(8)]
        assert events == [
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio.delta",
        ]


async def test_cleared_sound_is_not_answered(talking, sdk, speech, likeness):
    async with talking(Parrot) as server, sdk(server) as connection:
        await push_to_talk(connection)
        await say(connection, np.concatenate([speech, speech]))
        await connection.input_audio_buffer.clear()
        await until(connection, "input_audio_buffer.cleared")
        events = await committed_turn(connection, speech)
        assert likeness(speech.tobytes(), sound(events)) > 0.9
        assert len(sound(events)) < 2 * 1.5 * len(speech)


async def test_speech_during_a_response_waits_for_its_end(talking, sdk, speech, likeness):
    async with talking(Parrot) as server, sdk(server) as connection:
        await push_to_talk(connection)
        await say(connection, speech)
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        await until(connection, "response.output_audio.delta")
        await say(connection, np.concatenate([QUIET[: 10 * FRAME], speech]))
        events = await until(connection, "response.done")
        assert events[-1].response.status == "completed"
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        events = await until(connection, "response.done")
        assert likeness(speech.tobytes(), sound(events)) > 0.9


async def test_a_response_with_input_of_its_own(talking, sdk, speech, likeness):
    async with talking(Parrot) as server, sdk(server) as connection:
        await push_to_talk(connection)
        content = [
            {"type": "input_text", "text": "Say it again."},
            {"type": "input_audio", "audio": base64_of(speech)},
        ]
        item = {"type": "message", "role": "user", "content": content}
        await connection.response.create(
            response={"conversation": "none", "input": [item], "metadata": {"topic": "aside"}}
        )
        events = await until(connection, "response.done")
        assert likeness(speech.tobytes(), sound(events)) > 0.9
        assert events[-1].response.metadata == {"topic": "aside"}
        assert events[-1].response.conversation_id is None
        assert not [event for event in events if event.type.startswith("conversation.item")]


async def test_an_item_is_repeated(talking, sdk, speech, likeness):
    async with talking(Parrot) as server, sdk(server) as connection:
        content = [{"type": "input_audio", "audio": base64_of(speech)}]
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "id": "item_mine", "content": content}
        )
        events = await until(connection, "response.done")
        added = next(event for event in events if event.type == "conversation.item.added")
        assert added.item.id == "item_mine"
        assert likeness(speech.tobytes(), sound(events)) > 0.9


@pytest.mark.parametrize(
    ("form", "kind"), [(UlawFormat(), "audio/pcmu"), (AlawFormat(), "audio/pcma")]
)
async def test_g711_works_in_both_directions(talking, sdk, clip, likeness, form, kind):
    narrow = resample(to_float32(clip), 16_000, 8_000)
    said = AudioEncoder(form, 8_000).encode(np.concatenate([narrow, np.zeros(8_000, np.float32)]))
    chosen = {"format": {"type": kind}}
    async with talking(Parrot) as server, sdk(server) as connection:
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": chosen, "output": chosen}}
        )
        await say(connection, np.frombuffer(said, np.uint8), 640)
        events = await until(connection, "response.done")
    # The rest of 0.9: what the codec says above 4 kHz is lost on the way back.
    assert likeness(said, sound(events), form) > 0.8


async def test_speech_interrupts_the_response(talking, sdk, speech):
    async with talking(Parrot) as server, sdk(server) as connection:
        await say(connection, np.concatenate([speech, QUIET]))
        await until(connection, "response.output_audio.delta")
        await say(connection, speech)
        events = await until(connection, "response.done")
        done = events[-1].response
        assert done.status == "cancelled"
        assert done.status_details.reason == "turn_detected"
        assert "input_audio_buffer.speech_started" in [event.type for event in events]
        item = done.output[0].id
        # From its interruption on, nothing of the item but its end may come.
        types = [event.type for event in events]
        ended = types[types.index("input_audio_buffer.speech_started") + 1 :]
        assert "response.output_audio.delta" not in ended
        # As clients do that have played some of it only.
        await connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=10)
        await until(connection, "conversation.item.truncated")
        await say(connection, QUIET)
        events = await until(connection, "response.done")
        assert events[-1].response.status == "completed"


async def test_truncation_reports_the_frames_played(talking, sdk, until_played):
    async with talking(KeepsPlayed) as server, sdk(server) as connection:
        await say(connection, QUIET)
        events = await until(connection, "response.done")
        item = events[-1].response.output[0].id
        # Ten frames and a pause of two, and three more; and a little of the next one.
        for ms, frames in ((15 * 80 + 30, 13), (11 * 80, 10), (200, 2)):
            await connection.conversation.item.truncate(
                item_id=item, content_index=0, audio_end_ms=ms
            )
            await until(connection, "conversation.item.truncated")
            await until_played(frames)


async def test_the_client_cancels_a_response(talking, sdk, speech):
    async with talking(Stubborn) as server, sdk(server) as connection:
        await say(connection, QUIET)
        events = await until(connection, "response.output_audio.delta")
        await connection.response.cancel()
        events = await until(connection, "response.done")
        assert events[-1].response.status_details.reason == "client_cancelled"
        await connection.response.cancel(event_id="mine")
        events = await until(connection, "error")
        assert (events[-1].error.code, events[-1].error.event_id) == (
            "response_cancel_not_active",
            "mine",
        )
        await connection.response.create()
        events = await until(connection, "response.output_audio.delta")
        assert events[0].type == "response.created"


async def test_a_silent_response_completes(talking, sdk):
    async with talking(Mute) as server, sdk(server) as connection:
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        )
        await say(connection, QUIET)
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        events = await until(connection, "response.done")
        assert events[-1].response.status == "completed"
        assert events[-1].response.output == []


async def test_a_muted_client_hears_the_response_to_its_end(talking, sdk, speech, likeness):
    """A client that mutes its microphone while the model speaks hears it to its end."""
    async with talking(Parrot) as server, sdk(server) as connection:
        await say(connection, np.concatenate([speech, QUIET[:16_000]]))
        events = await until(connection, "response.done")
        assert likeness(speech.tobytes(), sound(events)) > 0.9


async def test_text_is_acknowledged_and_the_conversation_goes_on(talking, sdk, speech, likeness):
    async with talking(Parrot) as server, sdk(server) as connection:
        content = [{"type": "input_text", "text": "Hello"}]
        for role, name in (("system", "one"), ("user", "two")):
            item = {"type": "message", "role": role, "content": content, "id": name}
            await connection.conversation.item.create(item=item)
            done = (await until(connection, "conversation.item.done"))[-1]
            assert (done.item.id, done.item.content[0].text) == (name, "Hello")
        await connection.response.create(
            response={"output_modalities": ["text"]}, event_id="as text"
        )
        with pytest.raises(AssertionError, match="outputs audio only"):
            await until(connection, "response.created")
        await connection.send({"type": "nonsense", "event_id": "n"})
        assert (await until(connection, "error"))[-1].error.event_id == "n"
        await say(connection, np.concatenate([speech, QUIET]))
        events = await until(connection, "response.done")
        assert likeness(speech.tobytes(), sound(events)) > 0.9
        usage = events[-1].response.usage
        assert usage.output_tokens == pytest.approx(len(sound(events)) / 2 / 1920, abs=1)
        assert usage.input_tokens > 20
