from __future__ import annotations

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xyt_stream.client.jitter import JitterBuffer


def buffer(target=0.1, limit=1.0):
    return JitterBuffer(1000, target=target, limit=limit)


def sound(count, start=0):
    return np.arange(start, start + count, dtype=np.int16)


def test_it_holds_back_until_it_has_enough():
    jitter = buffer()
    jitter.push(sound(99))
    assert len(jitter.pull(10)) == 0
    assert jitter.depth == 0.099
    jitter.push(sound(1, 99))
    assert jitter.pull(60).tolist() == list(range(60))
    assert jitter.pull(40).tolist() == list(range(60, 100))
    assert jitter.underruns == 0


def test_run_dry_it_gives_what_it_has_and_holds_back_again():
    jitter = buffer()
    jitter.push(sound(120))
    assert len(jitter.pull(150)) == 120
    assert jitter.underruns == 1
    jitter.push(sound(99, 120))
    assert len(jitter.pull(10)) == 0
    assert jitter.underruns == 1  # silence goes on: it is the same one
    jitter.push(sound(1, 219))
    assert jitter.pull(10)[0] == 120


def test_beyond_its_limit_the_oldest_goes():
    jitter = buffer(limit=0.2)
    jitter.push(sound(150))
    jitter.push(sound(150, 150))
    assert (jitter.depth, jitter.dropped) == (0.2, 100)
    assert jitter.pull(300).tolist() == list(range(100, 300))
    jitter.push(sound(500))
    assert jitter.dropped == 100 + 300
    assert jitter.pull(1).tolist() == [300]


def test_at_the_end_the_rest_is_played_however_short():
    jitter = buffer()
    jitter.push(sound(5))
    assert len(jitter.pull(10)) == 0
    jitter.finish()
    assert not jitter.done
    assert jitter.pull(10).tolist() == [0, 1, 2, 3, 4]
    assert len(jitter.pull(10)) == 0
    assert jitter.done
    assert jitter.underruns == 0


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=30))
def test_order_is_kept_and_what_is_missing_is_counted(steps):
    jitter = buffer(limit=0.5)
    pushed, out = 0, []
    for push, pull in steps:
        jitter.push(sound(push, pushed))
        pushed += push
        out.extend(jitter.pull(pull).tolist())
        assert 0 <= jitter.depth <= 0.5
    jitter.finish()
    out.extend(jitter.pull(1000).tolist())
    assert out == sorted(set(out))
    assert len(out) + jitter.dropped == pushed


def test_a_sound_card_may_pull_from_its_own_thread():
    jitter = buffer(limit=30)
    out = []

    def play():
        while not jitter.done:
            out.append(jitter.pull(7))

    player = threading.Thread(target=play)
    player.start()
    for start in range(0, 20_000, 16):
        jitter.push(sound(16, start))
    jitter.finish()
    player.join(30)
    assert np.concatenate(out).tolist() == list(range(20_000))
