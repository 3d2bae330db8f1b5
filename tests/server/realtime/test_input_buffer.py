"""The input buffer and the model's feed without a socket: a scripted detector, and a clock that the
test moves.
"""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.client_events import ResponseCreate, parse_event
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.admission.ahead import AheadTurns
from xyt_stream.server.realtime.input_buffer import MAX_SECONDS, InputBuffer
from xyt_stream.server.realtime.model_feed import PATIENCE, STALL, ModelFeed
from xyt_stream.server.realtime.turn_detector import TurnDetector
from xyt_stream.server.sessions.lateness import Lateness

FRAME = 1280
LIVE = {"turn_detection": {}}
MANUAL = {"turn_detection": None}
NOT_LIVE = {"turn_detection": {"type": "server_vad", "create_response": False}}


class Detector:
    """Takes loud windows for speech."""

    window = 512

    def __call__(self, samples):
        return float(np.abs(samples).max() > 0.05)

    def reset(self):
        pass


class Setup:
    """A buffer, the frames that the model has got, and the events that the client has."""

    def __init__(self, clock, turns=None):
        self.clock = clock
        self.frames = []
        self.lost = []  # frames
        self._heard = Signal()
        self.sent = []
        self.events = ServerEvents(model="m", rate=16_000, send=self._keep)
        self.buffer = InputBuffer(
            self.events,
            TurnDetector(Detector()),
            lambda: self.feed.turn_committed(),
            lateness=Lateness(clock),
            on_late=self.lost.append,
            turns=turns,
        )
        self.feed = ModelFeed(self.events, self.buffer, self._hear, clock)
        tasks = self.buffer.listen(), self.feed.run()
        self._tasks = [asyncio.create_task(task) for task in tasks]

    def _keep(self, event):
        self.sent.append(json.loads(event))

    async def _hear(self, frame):
        assert frame.shape == (FRAME,)
        self.frames.append(frame)
        self._heard.notify()
        await asyncio.sleep(0)

    def configure(self, turn_detection):
        session = {"type": "realtime", "audio": {"input": turn_detection}}
        event, _, error = parse_event(json.dumps({"type": "session.update", "session": session}))
        assert error is None
        self.events.update(event)
        self.buffer.settings_changed()

    def respond(self):
        self.events.create(ResponseCreate())
        self.feed.answer()

    def says(self, frames):
        """The model speaks in its next frames."""
        for _ in range(frames):
            self.events.responses.on_output(len(self.frames), True, sound(FRAME))

    async def hears(self, frames):
        """Waits until the model has got so many frames in all, and lets it speak."""
        await self._heard.wait_for(lambda: len(self.frames) >= frames)
        self.says(1)
        await asyncio.sleep(0)

    async def settle(self):
        """Lets the tasks run until they wait."""
        for _ in range(2000):
            await asyncio.sleep(0)

    def take(self):
        """The samples that are not silence in each frame since the last time."""
        frames, self.frames = self.frames, []
        return [int((frame != 0).sum()) for frame in frames]

    @property
    def kinds(self):
        return [event["type"] for event in self.sent]

    @property
    def loud(self):
        """Samples of the frames that are not silence."""
        return sum(int((frame != 0).sum()) for frame in self.frames)

    def close(self):
        for task in self._tasks:
            task.cancel()


@pytest.fixture
async def setup(clock):
    setup = Setup(clock)
    yield setup
    setup.close()


def sound(samples, level=0.01):
    return np.full(samples, level, np.float32)


def speech(samples):
    return sound(samples, 0.5)


async def test_a_live_model_gets_whole_frames_at_once(setup):
    setup.buffer.append(sound(2 * FRAME + 100))
    await setup.settle()
    assert setup.take() == [FRAME, FRAME]
    setup.buffer.append(sound(FRAME - 100))
    await setup.settle()
    assert setup.take() == [FRAME]


@pytest.mark.parametrize("settings", [LIVE, MANUAL, NOT_LIVE])
@pytest.mark.parametrize("size", [1, 7, FRAME - 1, FRAME, 3 * FRAME + 5])
async def test_pieces_of_any_size_make_whole_frames(setup, settings, size):
    setup.configure(settings)
    said = np.arange(1, 10 * FRAME + 1, dtype=np.float32) * 1e-9
    for start in range(0, len(said), size):
        setup.buffer.append(said[start : start + size])
    await setup.settle()
    np.testing.assert_array_equal(np.concatenate(setup.frames), said)


async def test_a_stalled_client_is_replaced_by_silence_during_a_response(setup):
    setup.buffer.append(sound(FRAME))
    await setup.settle()
    setup.respond()
    await setup.settle()
    assert setup.take() == [FRAME]  # the client is not late yet
    setup.clock.now += STALL + 0.001
    setup.buffer.changed.notify()
    await setup.settle()
    assert setup.take() == [0]
    setup.clock.now += 0.08  # from then on a frame of silence every 80 ms
    setup.buffer.changed.notify()
    await setup.settle()
    assert setup.take() == [0]


async def test_without_a_response_nothing_is_added(setup):
    setup.buffer.append(sound(FRAME))
    setup.clock.now += 3600
    setup.buffer.changed.notify()
    await setup.settle()
    assert setup.take() == [FRAME]


@pytest.mark.parametrize("settings", [MANUAL, NOT_LIVE])
async def test_the_model_hears_sound_as_it_arrives(setup, settings):
    setup.configure(settings)
    setup.buffer.append(speech(4 * FRAME + 700))
    await setup.settle()
    assert setup.take() == 4 * [FRAME]
    setup.buffer.commit()
    await setup.settle()
    assert setup.take() == [700]
    setup.respond()
    await setup.settle()
    assert set(setup.take()) == {0}


async def test_the_answer_comes_after_the_whole_input(setup):
    """All is sent at once: none of it was heard when the response is asked for."""
    setup.configure(MANUAL)
    setup.buffer.append(speech(20 * FRAME))
    setup.buffer.commit()
    setup.respond()
    setup.says(3)
    assert setup.kinds[-1] == "response.created"  # what it says before it has heard is no answer
    await setup.hears(20)
    assert setup.kinds.count("response.output_audio.delta") == 1
    assert setup.take()[:20] == 20 * [FRAME]


async def test_sound_during_a_response_waits_for_its_end(setup):
    setup.configure(MANUAL)
    setup.buffer.append(speech(2 * FRAME))
    setup.buffer.commit()
    setup.respond()
    await setup.hears(2)
    setup.buffer.append(speech(3 * FRAME))
    await setup.settle()
    assert setup.loud == 2 * FRAME
    setup.events.responses.interrupt("client_cancelled")
    await setup.settle()
    assert setup.loud == 5 * FRAME


async def test_silence_during_a_response_is_not_heard_later(setup):
    setup.configure(MANUAL)
    setup.buffer.append(speech(2 * FRAME))
    setup.buffer.commit()
    setup.respond()
    await setup.hears(2)
    setup.take()
    setup.buffer.append(sound(100 * FRAME))
    setup.buffer.append(speech(5 * FRAME))
    await setup.settle()
    setup.events.responses.interrupt("client_cancelled")
    await setup.settle()
    heard = [count for count in setup.take() if count]
    assert 5 <= len(heard) < 5 + 8  # the speech, and a little that comes before


async def test_a_silent_model_loses_its_response_after_its_patience(setup):
    setup.configure(MANUAL)
    setup.buffer.append(sound(4 * FRAME))
    setup.buffer.commit()
    setup.respond()
    await setup.settle()
    assert len(setup.frames) == 4 + round(PATIENCE / 0.08)
    assert setup.sent[-1]["type"] == "response.done"
    assert setup.sent[-1]["response"]["status"] == "completed"
    assert setup.sent[-1]["response"]["usage"]["input_tokens"] == len(setup.frames)


async def test_a_committed_turn_keeps_its_pauses_though_its_answer_is_awaited(setup):
    """The turn is searched for speech after it was committed and its answer was asked for."""
    go_on, got = asyncio.Event(), []

    async def hear(frame):
        await go_on.wait()
        got.append(float(frame.max()))

    setup.feed._hear = hear
    setup.configure(MANUAL)
    for piece in (speech(4 * FRAME), sound(9 * FRAME, 0.0), speech(4 * FRAME)):
        setup.buffer.append(piece)
    setup.buffer.commit()
    setup.respond()
    await setup.settle()
    go_on.set()
    await setup.settle()
    assert got[:17] == 4 * [0.5] + 9 * [0.0] + 4 * [0.5]


async def test_a_cancelled_response_ends_the_silence(setup):
    setup.configure(MANUAL)
    setup.buffer.append(sound(4 * FRAME))
    setup.buffer.commit()
    setup.respond()
    setup.events.responses.interrupt("client_cancelled")
    await setup.settle()
    assert setup.take() == 4 * [FRAME]


async def test_a_commit_of_too_little_is_refused(setup):
    setup.configure(MANUAL)
    setup.buffer.append(sound(1599))
    with pytest.raises(EventError, match=r"at least 100ms .* only has 99\.94ms") as caught:
        setup.buffer.commit()
    assert caught.value.code == "input_audio_buffer_commit_empty"
    setup.buffer.append(sound(1))
    setup.buffer.commit()
    with pytest.raises(EventError):
        setup.buffer.commit()
    assert setup.kinds.count("input_audio_buffer.committed") == 1


@pytest.mark.parametrize("settings", [LIVE, MANUAL, NOT_LIVE])
async def test_a_commit_is_reported_at_once_and_its_sound_is_heard(setup, settings):
    setup.configure(settings)
    setup.buffer.append(sound(10 * FRAME))
    setup.buffer.commit()
    assert "input_audio_buffer.committed" in setup.kinds
    await setup.settle()
    assert setup.take() == 10 * [FRAME]


async def test_committed_sound_is_not_searched_for_turns(setup):
    setup.buffer.append(np.concatenate([speech(10 * FRAME), sound(20 * FRAME)]))
    setup.buffer.commit()
    await setup.settle()
    assert "input_audio_buffer.speech_started" not in setup.kinds
    setup.buffer.append(np.concatenate([speech(10 * FRAME), sound(20 * FRAME)]))
    await setup.settle()
    assert setup.kinds.count("input_audio_buffer.speech_started") == 1
    assert setup.kinds.count("input_audio_buffer.speech_stopped") == 1


async def test_cleared_sound_that_waits_never_reaches_the_model(setup):
    setup.configure(MANUAL)
    setup.buffer.append(speech(4 * FRAME))
    setup.buffer.clear()
    setup.feed.turn_cleared()
    setup.respond()
    await setup.settle()
    assert setup.loud == 0
    assert "input_audio_buffer.cleared" in setup.kinds


async def test_a_turn_that_was_heard_and_cleared_ends_in_silence(setup):
    setup.configure(MANUAL)
    setup.buffer.append(speech(4 * FRAME))
    await setup.settle()
    setup.buffer.clear()
    setup.feed.turn_cleared()
    setup.buffer.append(speech(FRAME))
    await setup.settle()
    assert setup.take() == [*4 * [FRAME], *12 * [0], FRAME]


async def test_clearing_again_costs_nothing(setup):
    setup.configure(MANUAL)
    setup.buffer.append(speech(FRAME))
    await setup.settle()
    for _ in range(1000):
        setup.buffer.clear()
        setup.feed.turn_cleared()
    await setup.settle()
    assert setup.take() == [FRAME, *12 * [0]]


@pytest.mark.parametrize("settings", [LIVE, MANUAL])
async def test_sound_that_waits_has_a_limit(setup, settings):
    setup.configure(settings)
    for _ in range(int(MAX_SECONDS)):
        setup.buffer.check_space(1)
        setup.buffer.append(sound(16_000))
    with pytest.raises(EventError) as caught:
        setup.buffer.check_space(1)
    assert caught.value.code == "input_audio_buffer_full"
    setup.buffer.clear()
    setup.buffer.check_space(MAX_SECONDS)


async def test_a_turn_is_committed_when_the_user_stops(setup):
    setup.configure(NOT_LIVE)
    quiet = sound(20 * FRAME)
    setup.buffer.append(np.concatenate([quiet, speech(10 * FRAME), quiet]))
    await setup.settle()
    wanted = ["speech_started", "speech_stopped", "committed"]
    found = [kind.rpartition(".")[2] for kind in setup.kinds if "input_audio_buffer" in kind]
    assert found == wanted
    setup.respond()
    await setup.settle()
    loud = sum(int((np.abs(frame) > 0.1).sum()) for frame in setup.frames)
    assert loud == 10 * FRAME


async def test_turn_detection_begins_anew_when_it_is_turned_on(setup):
    setup.configure(MANUAL)
    setup.buffer.append(speech(10 * FRAME))
    await setup.settle()
    setup.configure(LIVE)
    setup.buffer.append(sound(20 * FRAME))
    await setup.settle()
    assert "input_audio_buffer.speech_stopped" not in setup.kinds
    setup.buffer.append(speech(10 * FRAME))
    await setup.settle()
    assert setup.kinds.count("input_audio_buffer.speech_started") == 1


async def test_an_item_leaves_the_users_turn_alone(setup):
    setup.buffer.append(speech(10 * FRAME))
    await setup.settle()
    setup.buffer.add_turn(speech(5 * FRAME))
    await setup.settle()
    setup.buffer.append(np.concatenate([speech(5 * FRAME), sound(20 * FRAME)]))
    await setup.settle()
    found = [kind.rpartition(".")[2] for kind in setup.kinds if "input_audio_buffer" in kind]
    assert found == ["speech_started", "speech_stopped", "committed"]
    assert setup.loud == 40 * FRAME


@pytest.mark.parametrize("settings", [LIVE, MANUAL])
async def test_a_whole_turn_can_come_in_an_item(setup, settings):
    setup.configure(settings)
    setup.buffer.append(sound(FRAME // 2))
    await setup.settle()
    setup.buffer.add_turn(speech(2 * FRAME))
    await setup.settle()
    assert setup.loud >= 2 * FRAME
    setup.buffer.append(sound(FRAME // 2))
    setup.respond()
    await setup.settle()
    assert setup.loud >= 2 * FRAME + FRAME // 2


async def test_sound_ahead_of_real_time_waits_for_its_turn_and_real_time_does_not(clock, until):
    turns = AheadTurns(clock)
    turns.charge(1000.0)
    ahead, in_time = Setup(clock, turns), Setup(clock, turns)
    ahead.buffer.append(sound(1000 * FRAME))
    await until(lambda: turns.waiting == 1)
    in_time.buffer.append(sound(2 * FRAME))
    await until(lambda: len(in_time.frames) == 2)
    assert 0 < len(ahead.frames) < 900
    for each in ahead, in_time:
        each.close()


async def test_one_session_is_listened_to_in_one_pass_of_the_event_loop(clock, until):
    turns = AheadTurns(clock)
    setups = [Setup(clock, turns) for _ in range(8)]
    for each in setups:
        each.buffer.append(sound(2 * FRAME))
    heard = 0
    for _ in range(1000):
        await asyncio.sleep(0)
        before, heard = heard, sum(len(each.frames) for each in setups)
        assert heard <= before + 1
    assert heard == 2 * len(setups)
    for each in setups:
        each.close()


async def test_sound_that_is_cleared_while_it_waits_for_its_turn_is_not_heard(clock, until):
    turns = AheadTurns(clock)
    turns.charge(1.0)
    setup = Setup(clock, turns)
    setup.buffer.append(sound(1000 * FRAME))
    await until(lambda: turns.waiting == 1)
    heard = len(setup.frames)
    setup.buffer.clear()
    clock.now += 100.0
    await until(lambda: turns.waiting == 0)
    await setup.settle()
    assert len(setup.frames) == heard
    setup.close()
