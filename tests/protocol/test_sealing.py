"""Frames sealed from end to end: what opens, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from xyt_stream.errors import ProtocolError, RoomKeyError
from xyt_stream.protocol.client_machine import ClientMachine
from xyt_stream.protocol.messages import Delay, Hello, Kind, Media, Model, Ready, decode, encode
from xyt_stream.protocol.sealing import OVERHEAD, Sealing, make_key, sealed_media
from xyt_stream.protocol.server_machine import ServerMachine

KEY = "a key for these tests"
RECORDED = json.loads((Path(__file__).parent / "sealed.json").read_text())
FRAMES = [bytes([n]) * 10 for n in range(5)]


def refused(opener: Sealing, sealed: bytes, match: str) -> None:
    with pytest.raises(ProtocolError, match=match) as caught:
        opener.open(sealed)
    assert caught.value.name == "bad_seal"
    assert "\n" not in str(caught.value)


def test_recorded_frames_open() -> None:
    hearing = {"mic": "speaker", "user": "model", "loopback": "loopback"}
    for each in RECORDED["streams"]:
        opener = Sealing(RECORDED["key"], hearing[each["speaker"]], each["room"])
        opened = [opener.open(bytes.fromhex(sealed)).hex() for sealed in each["sealed"]]
        assert opened == each["frames"]


def test_a_listener_may_come_late_and_lose_frames() -> None:
    mic, speaker = Sealing(KEY, "mic", "a"), Sealing(KEY, "speaker", "a")
    sealed = [mic.seal(frame) for frame in FRAMES]
    assert [len(each) - len(frame) for each, frame in zip(sealed, FRAMES, strict=True)] == [
        OVERHEAD
    ] * 5
    assert [speaker.open(sealed[n]) for n in (1, 2, 4)] == [FRAMES[n] for n in (1, 2, 4)]


@pytest.mark.parametrize("bit", [0, 7, 8 * 8, 8 * 12, 8 * 21, 8 * 37])
@pytest.mark.parametrize("at", [0, 1])
def test_an_altered_frame_is_refused(at: int, bit: int) -> None:
    """In its stream, its number, its codes or its tag; as a stream's first or a later one."""
    mic, speaker = Sealing(KEY, "mic", "a"), Sealing(KEY, "speaker", "a")
    sealed = [mic.seal(frame) for frame in FRAMES]
    for each in sealed[:at]:
        speaker.open(each)
    altered = bytearray(sealed[at])
    altered[bit // 8] ^= 1 << bit % 8
    refused(speaker, bytes(altered), "cannot be opened")
    assert speaker.open(sealed[at]) == FRAMES[at]  # the right one still opens


@pytest.mark.parametrize("again", [0, 1, 2])
def test_a_repeated_or_reordered_frame_is_refused(again: int) -> None:
    mic, speaker = Sealing(KEY, "mic", "a"), Sealing(KEY, "speaker", "a")
    sealed = [mic.seal(frame) for frame in FRAMES]
    for n in (0, 2):
        speaker.open(sealed[n])
    refused(speaker, sealed[again], "again or out of order")
    assert speaker.open(sealed[3]) == FRAMES[3]


def test_an_earlier_stream_does_not_come_back() -> None:
    speaker = Sealing(KEY, "speaker", "a")
    first, second = Sealing(KEY, "mic", "a"), Sealing(KEY, "mic", "a")
    speaker.open(first.seal(FRAMES[0]))
    later = first.seal(FRAMES[1])
    speaker.open(second.seal(FRAMES[0]))
    refused(speaker, later, "again or out of order")


@pytest.mark.parametrize(
    ("key", "role", "room"),
    [(KEY + "!", "speaker", "a"), (KEY, "speaker", "b"), (KEY, "user", "a"), (KEY, "model", "a")],
)
def test_another_key_room_or_speaker_is_refused(key: str, role: str, room: str) -> None:
    refused(Sealing(key, role, room), Sealing(KEY, "mic", "a").seal(FRAMES[0]), "cannot be opened")


def test_own_speech_does_not_come_back_as_another_s() -> None:
    for role in ("user", "model", "mic"):
        own = Sealing(KEY, role, "a")
        refused(own, own.seal(FRAMES[0]), "cannot be opened")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(RoomKeyError, match="at least 16 characters: `xyt-stream key`"):
        Sealing("too short", "mic", "a")
    assert len(make_key()) >= 16
    assert make_key() != make_key()


@pytest.mark.parametrize("role", ["encode", "decode"])
def test_a_role_that_the_server_must_hear_is_refused(role: str) -> None:
    with pytest.raises(ProtocolError, match="cannot be encrypted") as caught:
        sealed_media(role)
    assert caught.value.name == "not_allowed"


def ready(role: str) -> Ready:
    send, receive = sealed_media(role)
    return Ready(
        session="s",
        role=role,
        room="a",
        send=send,
        receive=receive,
        send_rate=16_000,
        receive_rate=16_000,
        frame_ms=80.0,
        delay_ms=Delay(encode=80.0, decode=10.0),
        model=Model(
            name="m",
            hash="0" * 64,
            codebooks=8,
            codebook_size=1024,
            input_rate=16_000,
            output_rate=16_000,
            causal=True,
        ),
    )


def open_machines(role: str) -> tuple[ClientMachine, ServerMachine]:
    client, server = ClientMachine(Sealing(KEY, role, "a")), ServerMachine()
    send, receive = sealed_media(role)
    server.receive(client.hello(Hello(role=role, room="a", send=send, receive=receive)))
    client.receive(server.ready(ready(role)))
    return client, server


@pytest.mark.parametrize("resumed", [False, True])
def test_a_server_cannot_switch_encryption_off(resumed) -> None:
    client, _ = open_machines("user")
    if resumed:
        client.disconnected()
    else:
        client = ClientMachine(Sealing(KEY, "user", "a"))
    for kinds in ({"send": "codes"}, {"receive": ("codes",)}, {"receive": ("sealed", "pcm")}):
        lie = msgspec.structs.replace(ready("user"), **kinds)
        with pytest.raises(ProtocolError, match="does not keep the room encrypted"):
            client.receive(ServerMachine().control(lie))


@pytest.mark.parametrize("kind", [Kind.PCM, Kind.CODES])
def test_nothing_unsealed_is_heard(kind) -> None:
    client, _ = open_machines("speaker")
    with pytest.raises(ProtocolError) as caught:
        client.receive(encode(Media(kind, 0, 0, bytes(10))))
    assert caught.value.name == "not_allowed"


def test_no_nonce_is_used_twice_over_resumes_and_restarts() -> None:
    """A resumed session goes on counting; what it sends again is the same bytes."""
    seen: list[bytes] = []
    codes = np.arange(8)[:, None]
    for _ in range(3):  # sessions, one after the other, with the same key
        client, server = open_machines("mic")
        for _ in range(3):  # connections of a session
            seen += [decode(client.codes(n, np.tile(codes, 2))).payload for n in range(3)]
            client.disconnected()
            client.receive(server.ready(ready("mic")))
    frames = [each[at : at + 38] for each in seen for at in (0, 38)]
    assert len(frames) == 54
    assert len({each[:12] for each in frames}) == 54  # stream and number
    assert len({each[:8] for each in frames}) == 3


def test_the_server_passes_on_bytes_that_it_cannot_read() -> None:
    (mic, server), (speaker, other) = open_machines("mic"), open_machines("speaker")
    codes = np.random.default_rng(0).integers(0, 1024, (8, 4))
    data = mic.codes(7, codes)
    assert decode(data).kind == Kind.SEALED
    taken = server.receive(data)
    heard = speaker.receive(other.codes(7, taken.codes))
    np.testing.assert_array_equal(heard.codes, codes)
    with pytest.raises(ProtocolError, match="no whole number"):
        server.receive(encode(Media(Kind.SEALED, 1, 0, b"x" * 37)))


@pytest.mark.parametrize(
    ("role", "send", "receive", "room"),
    [
        ("mic", "sealed", None, "a"),
        ("speaker", None, ("sealed",), "a"),
        ("user", "sealed", ("sealed",), "a"),
    ],
)
def test_a_hello_for_sealed_media_is_accepted(role, send, receive, room) -> None:
    ClientMachine().hello(Hello(role=role, send=send, receive=receive, room=room))


@pytest.mark.parametrize(
    ("role", "send", "receive", "room"),
    [
        ("speaker", None, ("sealed", "pcm"), "a"),
        ("loopback", "sealed", ("codes",), None),
        ("loopback", None, ("sealed",), None),
        ("user", "sealed", ("sealed",), None),
        ("encode", "sealed", None, None),
    ],
)
def test_sealed_media_go_with_no_other_kind(role, send, receive, room) -> None:
    with pytest.raises(ProtocolError) as caught:
        ClientMachine().hello(Hello(role=role, send=send, receive=receive, room=room))
    assert caught.value.name == "not_allowed"
