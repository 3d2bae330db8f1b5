"""A room with many speakers of codes over three nodes, and the proxy's share of a frame's way."""

from __future__ import annotations

import pytest

from xyt_stream.bench.proxy import compare
from xyt_stream.bench.relay import measure
from xyt_stream.bench.relay_cluster import own_cluster


def room(speakers, seconds):
    with own_cluster(3, speakers) as cluster:
        result = measure(cluster, rooms=1, speakers=speakers, seconds=seconds)
    assert result.errors == []
    assert result.lost_frames == 0
    assert result.frames == round(seconds / 0.08) * speakers
    assert result.message_us.keys() == {"relays", "proxy", "clients"}
    print(result.line)


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [600, 2000])
def test_speakers_over_three_nodes_lose_no_frame(speakers):
    room(speakers, 20)


@pytest.mark.parametrize(
    ("sessions", "seconds", "loads"),
    [(2, 1, 1), (32, 8, 3)],
)
@pytest.mark.slow
async def test_no_frame_is_lost_behind_the_proxy(clip, sessions, seconds, loads):
    """The same load runs directly and through HAProxy, in turn; nothing is encoded."""
    result = await compare(clip, sessions=sessions, seconds=seconds, loads=loads)
    assert result.lost_frames == 0
    assert len(result.direct_ms) == len(result.proxy_ms) == loads
    assert result.frame_us > 0
