"""Rooms and nodes in a session's URL."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.messages import Hello
from xyt_stream.protocol.place import (
    is_node_name,
    own_name,
    place_in,
    placed,
    resume_token,
    split_token,
)

NAMES = st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable())


def path_of(url):
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


@pytest.mark.parametrize(
    "url", ["ws://host", "ws://host:1/", "wss://host/xyt/?a=1", "ws://[::1]:8"]
)
@given(room=NAMES)
def test_the_server_reads_the_room_that_a_client_puts_there(url, room):
    place = place_in(path_of(placed(url, room, "b")))
    assert (place.rooms, place.node) == ((room,), "b")


def test_a_speaker_says_in_the_url_that_it_only_listens():
    place = place_in(path_of(placed("ws://host", "r", role="speaker")))
    assert place.is_listener
    for role in ("mic", "user", "model", None):
        assert not place_in(path_of(placed("ws://host", "r", role=role))).is_listener
    assert placed("ws://host", None, role="speaker") == "ws://host"
    place.check(Hello(role="speaker", room="r"))
    with pytest.raises(ProtocolError, match="role"):
        place.check(Hello(role="mic", room="r"))


def test_all_else_in_the_url_stays():
    assert placed("wss://u@host/xyt/?a=1&b=%20", "r") == "wss://u@host/xyt/?a=1&b=%20&room=r"
    assert placed("ws://host:8765", None) == "ws://host:8765"
    assert placed("ws://[", "r") == "ws://["
    assert placed("nowhere", "r") == "nowhere"


def test_a_room_and_a_node_are_replaced_and_taken_away():
    url = placed("ws://host/?room=a&node=b&c=1", "d")
    assert url == "ws://host/?c=1&room=d"
    assert placed(url, None) == "ws://host/?c=1"


@pytest.mark.parametrize("path", ["/", "/?node=a.b", "/?node=", "/?" + "a=1&" * 99 + "room=r"])
def test_a_query_that_cannot_be_read_names_no_place(path):
    assert place_in(path).node is None
    assert place_in(path).room is None


@pytest.mark.parametrize(
    ("path", "room", "agrees"),
    [
        ("/", "kitchen", True),
        ("/?room=kitchen", "kitchen", True),
        ("/?room=kit%63hen", "kitchen", True),
        ("/?room=kitchen", None, False),
        ("/?room=", None, False),
        ("/?room=hall", "kitchen", False),
        ("/?room=kitchen&room=hall", "kitchen", False),
    ],
)
def test_the_room_must_agree_with_the_hello(path, room, agrees):
    hello = Hello(role="user", room=room)
    if agrees:
        place_in(path).check(hello)
        return
    with pytest.raises(ProtocolError) as caught:
        place_in(path).check(hello)
    assert caught.value.name == "bad_message"


def test_names_of_nodes_are_no_addresses():
    """A token's node becomes part of a peer's URL."""
    assert all(map(is_node_name, ["a", "node-1", "x_2", "7a", own_name()]))
    bad = ["", "a.b", "127", "a/b", "a@b", "a b", "ä", "a\n", "x" * 64, "2130706433", "[::1]"]
    assert not any(map(is_node_name, bad))


@given(key=st.from_regex(r"\A[A-Za-z0-9_-]{1,40}\Z"))
def test_a_token_carries_its_node(key):
    assert split_token(resume_token("b", key)) == ("b", key)


def test_a_token_without_a_node_is_a_key():
    assert split_token("abc") == ("", "abc")
    assert split_token("no node.abc") == ("", "abc")
