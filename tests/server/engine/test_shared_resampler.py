"""Listeners of one stream at one rate: its sound is resampled once, and each gets all of it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from xyt_stream.audio import StreamResampler
from xyt_stream.protocol.messages import End
from xyt_stream.server.engine.fanout import Fanout
from xyt_stream.server.engine.slot_stream import DecodedFrame, Length
from xyt_stream.server.sessions.send_queue import SendQueue

FRAMES = 60
CODEC_RATE = 16_000
FRAME = 1_280
RATES = [8_000, 16_000, 24_000, 44_100, 48_000]


@pytest.fixture
def speech():
    """As long as FRAMES frames, less 100 samples."""
    noise = np.random.default_rng(0).standard_normal(FRAMES * FRAME - 100)
    return (0.1 * noise).astype(np.float32)


@pytest.fixture
def pushes(monkeypatch):
    """The rates of all pushes into resamplers."""
    made = []
    push = StreamResampler.push

    def counted(self, samples):
        made.append(self.rate_out)
        return push(self, samples)

    monkeypatch.setattr(StreamResampler, "push", counted)
    return made


def make(rate):
    return SendQueue(("pcm",), rate, CODEC_RATE, live=True, limit=10 * FRAMES)


def frame(speech, index, length=None):
    start = index * FRAME
    return DecodedFrame(index, speech[start : start + FRAME], start, length)


def play(listener, speech, first, last):
    for index in range(first, last):
        listener.on_audio(frame(speech, index))


def end(listener, speech):
    """Passes on the last two frames and the tail, of a stream whose length is known."""
    length = Length(len(speech), CODEC_RATE)
    for index in (FRAMES - 2, FRAMES - 1):
        listener.on_audio(frame(speech, index, length))
    listener.on_end(np.zeros(160, np.float32), length)


def heard(queue):
    """All samples that are queued."""
    samples = [np.zeros(0, np.int16)]
    while (message := queue.take()) is not None and not isinstance(message, End):
        samples.append(message.samples)
    return np.concatenate(samples)


@contextmanager
def joined(*queues):
    with ExitStack() as stack:
        fanout = Fanout()
        for queue in queues:
            stack.enter_context(fanout.join(queue))
        yield fanout


async def test_all_hear_what_one_alone_hears_and_it_is_resampled_once_for_each_rate(speech, pushes):
    alone = {rate: make(rate) for rate in RATES}
    for queue in alone.values():
        play(queue, speech, 0, FRAMES - 2)
        end(queue, speech)
    by_one, wanted = sorted(pushes), {rate: heard(queue) for rate, queue in alone.items()}
    pushes.clear()

    queues = [make(rate) for rate in 3 * RATES]
    with joined(*queues) as fanout:
        play(fanout, speech, 0, FRAMES - 2)
        end(fanout, speech)
        await fanout.settled()  # so many take turns
        for queue, rate in zip(queues, 3 * RATES, strict=True):
            got = heard(queue)
            assert len(got) == queue.take().samples == Length(len(speech), CODEC_RATE).at(rate)
            np.testing.assert_array_equal(got, wanted[rate])
    assert sorted(pushes) == by_one


@pytest.mark.parametrize("rate", RATES)
def test_one_that_joins_later_hears_the_rest_that_the_others_hear(speech, rate, pushes):
    early, late = make(rate), make(rate)
    with joined(early) as fanout:
        play(fanout, speech, 0, 20)
        before = heard(early)
        with fanout.join(late):
            play(fanout, speech, 20, FRAMES - 2)
            end(fanout, speech)
            rest = heard(early)
            np.testing.assert_array_equal(heard(late), rest)
            assert late.take().samples == len(rest)
    assert len(before) + len(rest) == Length(len(speech), CODEC_RATE).at(rate)
    assert len(pushes) == FRAMES + 1  # and the tail


def test_one_that_joins_after_a_break_shares_nothing_that_missed_it(speech):
    """Nobody wanted sound for a while, so the decoder, and the resampler, had stopped."""
    with joined() as fanout:
        with fanout.join(make(48_000)):
            play(fanout, speech, 0, 20)
        late, alone = make(48_000), make(48_000)
        with fanout.join(late):
            play(fanout, speech, 30, FRAMES - 2)
            end(fanout, speech)
        play(alone, speech, 30, FRAMES - 2)
        end(alone, speech)
        np.testing.assert_array_equal(heard(late), heard(alone))


@pytest.mark.parametrize("rate", RATES)
def test_those_from_another_node_share_again_and_miss_nothing(speech, rate, pushes):
    first, second = make(rate), make(rate)
    with joined(first) as fanout:
        play(fanout, speech, 0, 10)
        with fanout.join(second):
            play(fanout, speech, 10, 20)
            saved = [first.save(), second.save()]
    begun = [heard(first), heard(second)]
    pushes.clear()

    here, *moved = make(rate), make(rate), make(rate)
    for queue, state in zip(moved, saved, strict=True):
        queue.load(state)
        heard(queue)  # what the first node has delivered
    with joined(here) as fanout, ExitStack() as stack:  # beside one that joined at the new node
        play(fanout, speech, 19, 20)
        for queue in moved:
            stack.enter_context(fanout.join(queue))
        play(fanout, speech, 20, FRAMES - 2)
        end(fanout, speech)
    assert len(pushes) == 1 + 2 * (FRAMES - 20 + 1)

    alone = make(rate)
    play(alone, speech, 0, FRAMES - 2)
    end(alone, speech)
    whole = heard(alone)
    for begin, queue in zip(begun, moved, strict=True):
        got = np.concatenate([begin, heard(queue)])
        assert len(got) == queue.take().samples
        np.testing.assert_array_equal(got, whole[len(whole) - len(got) :])
    assert len(begun[0]) > len(begun[1]) > 0
    late = make(rate)
    play(late, speech, 19, FRAMES - 2)
    end(late, speech)
    np.testing.assert_array_equal(heard(here), heard(late))


@pytest.mark.parametrize("ends", [True, False])
def test_the_next_stream_of_a_room_goes_on_with_nothing_of_the_last(speech, ends):
    """Its listener joins, by chance, at the frame that would have followed there."""
    with joined() as fanout:
        with fanout.join(make(48_000)):
            play(fanout, speech, 0, FRAMES // 2)
            if ends:
                fanout.on_end(np.zeros(0, np.float32), Length(FRAMES // 2 * FRAME, CODEC_RATE))
            else:
                fanout.on_error()
        late, alone = make(48_000), make(48_000)
        with fanout.join(late):
            play(fanout, speech, FRAMES // 2, FRAMES - 2)
            end(fanout, speech)
        play(alone, speech, FRAMES // 2, FRAMES - 2)
        end(alone, speech)
        np.testing.assert_array_equal(heard(late), heard(alone))
