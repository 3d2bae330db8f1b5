"""The input buffer without a socket: a scripted detector, and a clock that the test moves."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.client_events import ResponseCreate, parse_event
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.server.realtime.input_buffer import MAX_SECONDS, PATIENCE, STALL, InputBuffer
from xyt_stream.server.realtime.turn_detector import TurnDetector

FRAME = 1280
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

    def __init__(self, clock):
        self.clock = clock
        self.frames = []
        self.sent = []
        self.events = ServerEvents(model="m", rate=16_000, send=self._keep)
        self.buffer = InputBuffer(self.events, TurnDetector(Detector()), self._feed, clock)
        self._task = asyncio.create_task(self.buffer.run())

    def _keep(self, event):
        self.sent.append(json.loads(event))

    async def _feed(self, frame):
        assert frame.shape == (FRAME,)
        self.frames.append(frame)
        await asyncio.sleep(0)

    def configure(self, turn_detection):
        session = {"type": "realtime", "audio": {"input": turn_detection}}
        event, _, error = parse_event(json.dumps({"type": "session.update", "session": session}))
        assert error is None
        self.events.update(event)

    def respond(self):
        self.events.create(ResponseCreate())
        self.buffer.request_response()

    async def settle(self):
        """Lets the buffer's task run until it waits."""
        for _ in range(2000):
            await asyncio.sleep(0)

    @property
    def kinds(self):
        return [event["type"] for event in self.sent]

    @property
    def loud(self):
        """Samples of the frames that are not silence."""
        return sum(int((frame != 0).sum()) for frame in self.frames)

    def close(self):
        self._task.cancel()


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
    await setup.buffer.append(sound(2 * FRAME + 100))
    await setup.settle()
    assert (len(setup.frames), setup.loud) == (2, 2 * FRAME)
    await setup.buffer.append(sound(FRAME - 100))
    await setup.settle()
    assert (len(setup.frames), setup.loud) == (3, 3 * FRAME)


async def test_a_stalled_client_is_replaced_by_silence_during_a_response(setup):
    await setup.buffer.append(sound(FRAME))
    await setup.settle()
    setup.respond()
    await setup.settle()
    assert len(setup.frames) == 1  # the client is not late yet
    setup.clock.now += STALL + 0.001
    setup.buffer.update()
    await setup.settle()
    assert len(setup.frames) == 2
    assert not setup.frames[1].any()
    setup.clock.now += 0.08  # from then on a frame of silence every 80 ms
    setup.buffer.update()
    await setup.settle()
    assert len(setup.frames) == 3


async def test_without_a_response_nothing_is_added(setup):
    await setup.buffer.append(sound(FRAME))
    setup.clock.now += 3600
    setup.buffer.update()
    await setup.settle()
    assert len(setup.frames) == 1


@pytest.mark.parametrize("settings", [MANUAL, NOT_LIVE])
async def test_committed_sound_waits_for_a_response(setup, settings):
    setup.configure(settings)
    await setup.buffer.append(speech(4 * FRAME))
    setup.buffer.commit(pytest.fail)
    await setup.settle()
    assert setup.frames == []
    setup.respond()
    await setup.settle()
    assert setup.loud == 4 * FRAME


async def test_a_silent_model_loses_its_response_after_its_patience(setup):
    setup.configure(MANUAL)
    await setup.buffer.append(sound(4 * FRAME))
    setup.buffer.commit(pytest.fail)
    setup.respond()
    await setup.settle()
    assert len(setup.frames) == 4 + round(PATIENCE / 0.08)
    assert setup.sent[-1]["type"] == "response.done"
    assert setup.sent[-1]["response"]["status"] == "completed"


async def test_a_cancelled_response_ends_the_silence(setup):
    setup.configure(MANUAL)
    await setup.buffer.append(sound(4 * FRAME))
    setup.buffer.commit(pytest.fail)
    setup.buffer.request_response()
    setup.buffer.cancel_response()
    await setup.settle()
    assert len(setup.frames) == 4


async def test_a_commit_of_too_little_is_refused(setup):
    setup.configure(MANUAL)
    refused = []
    await setup.buffer.append(sound(1599))
    setup.buffer.commit(refused.append)
    assert [error.code for error in refused] == ["input_audio_buffer_commit_empty"]
    await setup.buffer.append(sound(1))
    setup.buffer.commit(refused.append)
    assert len(refused) == 1
    assert "input_audio_buffer.committed" in setup.kinds


async def test_cleared_sound_never_reaches_the_model(setup):
    setup.configure(MANUAL)
    await setup.buffer.append(speech(4 * FRAME))
    setup.buffer.clear()
    setup.respond()
    await setup.settle()
    assert setup.loud == 0
    assert "input_audio_buffer.cleared" in setup.kinds


async def test_actions_wait_for_the_sound_before_them(setup):
    """A live client's commit comes behind its sound, which the model gets frame by frame."""
    await setup.buffer.append(sound(10 * FRAME))
    setup.buffer.commit(pytest.fail)
    assert "input_audio_buffer.committed" not in setup.kinds
    await setup.settle()
    assert len(setup.frames) == 10
    assert "input_audio_buffer.committed" in setup.kinds


async def test_too_much_uncommitted_sound_is_refused(setup):
    setup.configure(MANUAL)
    for _ in range(int(MAX_SECONDS)):
        await setup.buffer.append(sound(16_000))
    with pytest.raises(EventError) as caught:
        await setup.buffer.append(sound(16_000))
    assert caught.value.code == "input_audio_buffer_full"


async def test_a_live_client_far_ahead_is_not_read(setup):
    reading = asyncio.create_task(setup.buffer.drain())
    await asyncio.wait_for(reading, 60)
    await setup.buffer.append(sound(int(MAX_SECONDS * 16_000) + 5 * FRAME))
    reading = asyncio.create_task(setup.buffer.drain())
    await asyncio.sleep(0)
    assert not reading.done()
    await asyncio.wait_for(reading, 60)


async def test_a_turn_is_committed_when_the_user_stops(setup):
    setup.configure(NOT_LIVE)
    quiet = sound(20 * FRAME)
    await setup.buffer.append(np.concatenate([quiet, speech(10 * FRAME), quiet]))
    wanted = ["speech_started", "speech_stopped", "committed"]
    found = [kind.rpartition(".")[2] for kind in setup.kinds if "input_audio_buffer" in kind]
    assert found == wanted
    setup.respond()
    await setup.settle()
    loud = sum(int((np.abs(frame) > 0.1).sum()) for frame in setup.frames)
    assert loud == 10 * FRAME
    # Of the silence before, only the padding is kept: 300 ms, in whole frames.
    assert setup.loud < (10 + 5 + 8) * FRAME


async def test_a_whole_turn_can_be_added_as_an_item(setup):
    setup.configure(MANUAL)
    setup.buffer.add_item(speech(2 * FRAME), "item_1")
    await setup.settle()
    assert setup.frames == []
    setup.respond()
    await setup.settle()
    assert setup.loud == 2 * FRAME
    assert "item_1" in [event.get("item", {}).get("id") for event in setup.sent]
