"""The buffer itself, and whole calls simulated with recorded and with nasty arrivals."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xyt_stream.client.jitter import JitterBuffer

RATE = 16_000
PACKET = 1280  # 80 ms
BLOCK = 320  # 20 ms, what a sound card asks for


def buffer(target=0.1, limit=1.0):
    return JitterBuffer(1000, target=target, limit=limit)


def sound(count, start=0):
    return np.arange(start, start + count, dtype=np.int16)


def test_playing_begins_at_the_target():
    jitter = buffer()
    jitter.push(sound(99))
    assert len(jitter.pull(10)) == 0
    assert jitter.depth == 0.099
    jitter.push(sound(1, 99))
    assert jitter.pull(60).tolist() == list(range(60))
    assert jitter.pull(40).tolist() == list(range(60, 100))
    assert jitter.underruns == 0


def test_underrun_plays_the_rest_and_raises_the_target():
    jitter = buffer()
    jitter.push(sound(120))
    out = jitter.pull(150)
    assert out[:120].tolist() == list(range(120))
    assert jitter.underruns == 1
    assert jitter.target == pytest.approx(0.14)
    jitter.push(sound(139, 120))
    jitter.pull(1000)  # what stands in
    assert jitter.depth == pytest.approx(0.139)
    assert jitter.underruns == 1  # silence goes on: it is the same one
    jitter.push(sound(1, 259))
    assert jitter.pull(20)[-1] == 139


def test_beyond_the_limit_the_oldest_is_dropped():
    jitter = buffer(limit=0.2)
    jitter.push(sound(150))
    jitter.push(sound(150, 150))
    assert (jitter.depth, jitter.dropped) == (0.2, 100)
    assert jitter.pull(200).tolist() == list(range(100, 300))
    jitter.push(sound(500))
    assert jitter.dropped == 100 + 300


def test_finish_plays_a_rest_below_the_target():
    jitter = buffer()
    jitter.push(sound(5))
    assert len(jitter.pull(10)) == 0
    jitter.finish()
    assert not jitter.done
    assert jitter.pull(10).tolist() == [0, 1, 2, 3, 4]
    assert len(jitter.pull(10)) == 0
    assert jitter.done
    assert jitter.underruns == 0


def test_push_and_pull_run_in_two_threads():
    jitter = JitterBuffer(1000, limit=30)
    out = []

    def play():
        while not jitter.done:
            out.append(jitter.pull(7))

    jitter.push(sound(20_000))
    jitter.finish()
    player = threading.Thread(target=play)
    player.start()
    player.join(30)
    assert np.concatenate(out).tolist() == list(range(20_000))


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=30))
def test_every_sample_is_played_or_counted(steps):
    jitter = buffer(limit=0.5)
    pushed = played = 0
    for push, pull in steps:
        jitter.push(sound(push, pushed))
        pushed += push
        before = jitter.depth
        assert len(jitter.pull(pull)) <= pull
        played += round((before - jitter.depth) * 1000)
        assert 0 <= jitter.depth <= 0.5
    jitter.finish()
    played += len(jitter.pull(1000))
    assert jitter.done
    assert played + jitter.dropped == pushed


def simulate(arrivals, seconds=None):
    """A call: packets of a tone arrive at these times, ms, and a card asks for 20 ms each 20 ms.

    Returns:
        the buffer, all that was played, and how many packets waited at each time.
    """
    tone = (8000 * np.sin(2 * np.pi * 220 * np.arange(len(arrivals) * PACKET) / RATE)).astype("<i2")
    jitter = JitterBuffer(RATE)
    out, depths, given_in = [], [], 0
    for now in range(0, round(seconds * 1000) if seconds else round(max(arrivals)), 20):
        while given_in < len(arrivals) and arrivals[given_in] <= now:
            jitter.push(tone[given_in * PACKET : (given_in + 1) * PACKET])
            given_in += 1
        played = jitter.pull(BLOCK)
        out.append(np.concatenate([played, np.zeros(BLOCK - len(played), np.int16)]))
        depths.append(jitter.depth)
    return jitter, np.concatenate(out), np.array(depths)


def even(packets, late):
    """Arrivals every 80 ms, each later by some ms; TCP keeps their order."""
    return np.maximum.accumulate(80.0 * np.arange(packets) + late)


def longest_jump(played):
    return np.abs(np.diff(played.astype(int))).max()


@pytest.mark.parametrize(
    ("network", "underruns", "silent", "depth"),
    [("wifi", 8, 0.015, 0.2), ("mobile", 12, 0.05, 0.7)],
)
def test_recorded_networks_stay_within_their_bounds(fixtures, network, underruns, silent, depth):
    """A minute and a half each; fixtures/README.md describes the recording."""
    late = np.loadtxt(fixtures / "arrivals" / f"{network}.txt")
    jitter, played, depths = simulate(even(len(late), late))
    assert 0 < jitter.underruns <= underruns
    assert np.mean(np.abs(played) < 20) <= silent
    assert np.median(depths) <= depth
    assert longest_jump(played) < 9000  # the tone's own steps are up to 691; a cut makes 16,000


@pytest.mark.parametrize(("stall", "back"), [(0.3, 2), (0.6, 3), (1.5, 8)])
def test_delay_of_a_stall_is_skipped(stall, back):
    """Nothing for a while, then all of it; so many seconds later that is nearly over."""
    late = np.where(np.arange(600) == 100, stall * 1000, 5.0)
    jitter, played, depths = simulate(even(600, late))
    before = depths[300:400].mean()
    over = round((8 + stall) * 50)
    assert depths[over : over + 20].max() > stall - 0.2
    assert depths[over + back * 50 : over + back * 50 + 50].mean() < before + 0.1
    assert depths[-100:].mean() < before + 0.05
    assert jitter.underruns == 1
    assert longest_jump(played) < 3000


def test_target_stays_at_steady_jitter():
    """Packets that come by threes and fours, or up to 200 ms late, throughout."""
    dribble = np.tile([240.0, 160.0, 80.0, 0.0], 1000)
    uneven = np.random.default_rng(2).uniform(0, 200, 4000)
    for late, underruns in ((dribble, 0), (uneven, 2)):
        jitter, _, depths = simulate(even(4000, late))
        assert jitter.underruns <= underruns
        assert np.median(depths) < 0.2


def test_target_covers_repeated_stalls():
    """0.4 s, each ten seconds for ten minutes: it gives up too early a few times, then no more."""
    late = np.where(np.arange(7500) % 125 == 0, 400.0, 5.0)
    half, _, _ = simulate(even(3750, late[:3750]))
    whole, _, depths = simulate(even(7500, late))
    assert half.underruns <= 12
    assert whole.underruns <= half.underruns + 3
    assert np.median(depths) < 0.5


def test_stable_arrivals_end_with_a_low_depth():
    jitter, played, depths = simulate(even(1500, np.zeros(1500)))
    assert jitter.underruns == 0
    assert jitter.skipped > 0
    assert depths[-500:].mean() <= depths[50:500].mean()
    assert depths[-500:].max() <= 0.18
    assert longest_jump(played) < 3000


def test_depth_grows_with_jitter_and_shrinks_after_it():
    bad = np.where(np.arange(400) % 20 == 0, 400.0, 5.0)
    late = np.concatenate([np.zeros(100), bad, np.zeros(3000)])
    jitter, _, depths = simulate(even(len(late), late))
    during = depths[400 * 4 : 500 * 4]
    assert during.max() > 0.3
    assert depths[-500:].mean() < 0.2
    assert 1 <= jitter.underruns <= 12


@pytest.mark.parametrize("seed", range(5))
def test_random_arrivals_never_click(seed):
    """Stalls of up to two seconds, then everything at once."""
    rng = np.random.default_rng(seed)
    late = np.where(rng.random(600) < 0.02, rng.uniform(100, 2000, 600), rng.exponential(15, 600))
    jitter, played, depths = simulate(even(600, late))
    assert depths.max() <= 2.0
    assert longest_jump(played) < 9000
    assert jitter.target <= 1.0


def test_late_audio_is_concealed_by_a_fade_out():
    jitter = JitterBuffer(RATE)
    tone = (8000 * np.sin(np.arange(4 * PACKET) / 10)).astype(np.int16)
    jitter.push(tone)
    jitter.pull(4 * PACKET - 100)
    late = jitter.pull(BLOCK)
    assert len(late) == BLOCK
    assert np.abs(late[100:200]).max() > 4000
    gone = np.concatenate([jitter.pull(BLOCK), jitter.pull(BLOCK)])
    assert np.abs(gone[-50:]).max(initial=0) < 500
    assert longest_jump(np.concatenate([tone[:-100], late, gone])) < 2000


def test_gap_is_crossfaded():
    jitter = JitterBuffer(RATE)
    jitter.push(np.full(PACKET, 10_000, np.int16))
    jitter.push(np.full(PACKET, -10_000, np.int16), gap=True)
    assert longest_jump(jitter.pull(2 * PACKET)) < 1000


def test_clear_fades_out_and_starts_filling_again():
    jitter = JitterBuffer(RATE)
    jitter.push(np.full(3 * PACKET, 8000, np.int16))
    jitter.pull(BLOCK)
    fade = RATE // 200
    assert jitter.clear() == 3 * PACKET - BLOCK - fade
    out = jitter.pull(BLOCK)
    assert len(out) == fade
    assert out[0] == 8000
    assert out[-1] == 0
    assert (np.diff(out) <= 0).all()
    assert (len(jitter.pull(BLOCK)), jitter.depth, jitter.underruns) == (0, 0, 0)
    jitter.push(np.full(3 * PACKET, 500, np.int16))
    assert jitter.pull(BLOCK)[-1] == 500


def test_clear_before_playing_plays_nothing():
    jitter = JitterBuffer(RATE)
    jitter.push(np.full(BLOCK, 8000, np.int16))
    assert jitter.clear() == BLOCK
    assert len(jitter.pull(BLOCK)) == 0
