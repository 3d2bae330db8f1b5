"""A conversation on a real engine, without sockets: the test pushes each frame itself."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.messages import Cleared, Notice, Playing
from xyt_stream.server.duplex import interruption
from xyt_stream.server.duplex.conversation import Conversation
from xyt_stream.server.duplex.runner import DuplexRunner
from xyt_stream.server.engine.engine import Engine
from xyt_stream.server.engine.silence import silence_of
from xyt_stream.server.engine.slot_stream import Length

FRAME = np.zeros(1280, np.float32)


class Listener:
    """Keeps all that it receives."""

    def __init__(self, wants_sound=True):
        self.wants_sound = wants_sound
        self.codes, self.silent, self.sound = {}, [], []
        self.interruptions = self.errors = 0
        self.length = None

    def on_codes(self, index, codes):
        self.codes[index] = codes[0]

    def on_silence(self, index):
        self.silent.append(index)

    def on_audio(self, frame):
        self.sound.append(frame)

    def on_end(self, tail, length):
        self.length = length

    def on_interruption(self):
        self.interruptions += 1

    def on_error(self):
        self.errors += 1


class Talk:
    """A conversation, its listeners, and the control messages that both clients have got."""

    def __init__(self, engine, silence, runner=None):
        self.engine = engine
        self.user, self.model = Listener(), Listener()
        self.to_user, self.to_model = [], []
        self.overs = 0
        self.conversation = Conversation(
            engine,
            silence,
            user=self.user,
            model=self.model,
            runner=runner,
            on_over=self._count,
        )
        self.conversation.send_to_user = self.to_user.append

    def _count(self):
        self.overs += 1

    async def push(self, until, frames):
        """One frame at a time, each when the one before was encoded."""
        for _ in range(frames):
            count = len(self.user.codes)
            await self.conversation.push(FRAME)
            await until(lambda count=count: len(self.user.codes) > count)

    async def end(self, until, frames):
        await self.conversation.end(Length(frames * 1280, 16_000))
        await until(lambda: self.overs == 1)


@pytest.fixture
async def engine(codec):
    engine = Engine(codec, 2)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def silence(codec):
    return silence_of(codec)


@pytest.fixture
def talk(engine, silence):
    return Talk(engine, silence)


def codes(*values):
    return np.array(values)[None].repeat(8, 0)


async def test_a_remote_model_s_frames_fill_the_clock_one_by_one(talk, until):
    conversation = talk.conversation
    conversation.attach_model(talk.to_model.append)
    conversation.add_model_frames(codes(11, 12, 13))
    await talk.push(until, 5)
    await talk.end(until, 5)
    assert talk.model.codes == {0: 11, 1: 12, 2: 13}
    assert talk.model.silent == [3, 4]
    assert sorted(talk.user.codes) == [0, 1, 2, 3, 4]
    assert talk.model.length == Length(5 * 1280, 16_000)
    assert conversation.played == 3
    playing = [each for each in talk.to_model if isinstance(each, Playing)]
    assert playing == [
        Playing(frame=0, played=0, speaking=True),
        Playing(frame=3, played=3, speaking=False),
    ]
    assert talk.engine.free_slots == 2


async def test_an_answer_before_the_next_frame_is_in_time(talk, until):
    await talk.push(until, 1)
    talk.conversation.add_model_frames(codes(21))  # fills frame 0
    await talk.push(until, 2)
    talk.conversation.add_model_frames(codes(22))  # frame 1 has become silence: fills frame 2
    await talk.end(until, 3)
    assert talk.model.codes == {0: 21, 2: 22}


async def test_frames_still_queued_at_the_end_are_heard(talk, until):
    talk.conversation.add_model_frames(codes(1, 2, 3, 4))
    await talk.push(until, 1)
    await talk.end(until, 1)
    assert talk.model.codes == {0: 1, 1: 2, 2: 3, 3: 4}
    assert talk.model.length == Length(4 * 1280, 16_000)


async def test_an_interruption_drops_the_queue_and_counts_what_was_played(talk, until):
    conversation = talk.conversation
    conversation.attach_model(talk.to_model.append)
    conversation.add_model_frames(codes(*range(10)))
    await talk.push(until, 2)
    await until(lambda: len(talk.model.sound) == 2)
    conversation.interrupt()
    assert talk.model.interruptions == 1
    conversation.report_unplayed(1)
    assert talk.to_model[-1] == Cleared(frame=2, played=1, dropped=9)
    await talk.push(until, 1)
    await talk.end(until, 3)
    assert sorted(talk.model.codes) == [0, 1]


async def test_an_unreported_interruption_is_settled_by_time(talk, until, monkeypatch):
    monkeypatch.setattr(interruption, "REPORT_TIMEOUT", 0.01)
    talk.conversation.attach_model(talk.to_model.append)
    talk.conversation.add_model_frames(codes(1, 2))
    talk.conversation.interrupt()
    await until(lambda: bool(talk.to_model))
    assert talk.to_model == [Cleared(frame=0, played=0, dropped=2)]


async def test_a_second_interruption_without_speech_is_the_first(talk):
    talk.conversation.add_model_frames(codes(1, 2))
    first = talk.conversation.interrupt()
    assert talk.conversation.interrupt() is first
    assert talk.model.interruptions == 1


async def test_the_queue_holds_a_fast_model_back(talk, until):
    talk.conversation.add_model_frames(codes(1, 2, 3))
    waiting = asyncio.create_task(talk.conversation.drain(3))
    await asyncio.sleep(0)
    assert not waiting.done()
    await talk.push(until, 1)
    await asyncio.wait_for(waiting, 60)


async def test_the_user_is_notified_of_a_model(talk, until):
    conversation = talk.conversation
    conversation.attach_model(talk.to_model.append)
    conversation.detach_model()
    assert [notice.name for notice in talk.to_user] == ["model_joined", "model_left"]
    assert all(isinstance(notice, Notice) for notice in talk.to_user)
    await talk.push(until, 1)
    await talk.end(until, 1)
    conversation.attach_model(talk.to_model.append)
    assert len(talk.to_user) == 2  # the user's input has ended


async def test_a_failure_ends_both_streams(talk):
    waiting = asyncio.create_task(talk.conversation.drain(0))
    await asyncio.sleep(0)
    talk.conversation.on_error()
    await asyncio.wait_for(waiting, 60)
    assert (talk.user.errors, talk.model.errors, talk.overs) == (1, 1, 1)
    assert talk.engine.free_slots == 2
    talk.conversation.on_error()
    assert (talk.user.errors, talk.overs) == (1, 1)


async def test_without_two_slots_no_slot_is_kept(engine, silence):
    other = engine.open_slot(Listener(), from_codes=False)
    with pytest.raises(ProtocolError, match="slots are taken"):
        Talk(engine, silence)
    assert engine.free_slots == 1
    engine.close_slot(other)


class Counter:
    """Answers each frame with the number of the call, and notes interruptions."""

    cleared: tuple[int, ...] = ()

    def __init__(self, codec):
        self.calls = 0

    def open(self, session):
        pass

    def step(self, codes):
        self.calls += 1
        return np.full(8, self.calls)

    def clear(self, played):
        Counter.cleared += (played,)

    def close(self):
        pass


async def test_a_local_model_answers_in_the_same_frame(engine, silence, codec, until):
    Counter.cleared = ()
    runner = DuplexRunner(Counter, codec, 1)
    runner.start()
    try:
        talk = Talk(engine, silence, runner)
        assert talk.conversation.has_local_model
        await talk.push(until, 3)
        await until(lambda: talk.conversation.played == 3)
        talk.conversation.interrupt(played=2)
        await until(lambda: Counter.cleared == (2,))
        await talk.end(until, 3)
        assert talk.model.codes == {0: 1, 1: 2, 2: 3}
    finally:
        runner.stop()
