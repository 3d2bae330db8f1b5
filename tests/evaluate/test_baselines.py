from __future__ import annotations

import numpy as np
import pytest

from xyt_stream.audio import read_audio
from xyt_stream.evaluate.baselines import PEERS, Peer


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_gives_speech_back_where_it_was(peer: Peer, fixtures):
    if not peer.installed:
        pytest.skip(f"{peer.name} is not installed: Debian's package {peer.package} has it")
    stoi = pytest.importorskip("pystoi").stoi
    samples, _ = read_audio(fixtures / "speech.flac")
    decoded = peer.through(samples)
    assert decoded.shape == samples.shape
    aligned = stoi(samples, decoded, 16_000)
    assert aligned > 0.65
    for shift in (-240, 240):  # 15 ms to either side is worse
        assert stoi(samples, np.roll(decoded, shift), 16_000) < aligned


def test_what_is_not_installed_says_so():
    nobody = Peer("nobody", ("no-such-program",), "no-package", lambda samples: samples)
    assert not nobody.installed
