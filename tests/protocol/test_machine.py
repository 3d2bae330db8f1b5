"""Both state machines connected without sockets; test_messages.py covers the bytes."""

from contextlib import suppress

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from xyt_stream.errors import CodeError, ProtocolError
from xyt_stream.protocol import messages
from xyt_stream.protocol.client_machine import ClientMachine
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.machine import Codes, Pcm, State
from xyt_stream.protocol.messages import (
    Ack,
    Clear,
    Cleared,
    Delay,
    End,
    Error,
    Hello,
    Media,
    Model,
    Notice,
    Ping,
    Playing,
    Pong,
    Ready,
)
from xyt_stream.protocol.roles import ROLES
from xyt_stream.protocol.server_machine import ServerMachine

SOUND = np.array([1, -2, 300], np.int16)
CODES = np.arange(16).reshape(8, 2)


def ready_for(role="loopback", receive=("pcm", "codes"), codebook_size=1024):
    return Ready(
        session="1",
        role=role,
        send=ROLES[role].default_send,
        receive=receive,
        send_rate=16_000,
        receive_rate=16_000,
        frame_ms=80,
        delay_ms=Delay(encode=80, decode=10),
        model=Model(
            name="m",
            hash="0",
            codebooks=8,
            codebook_size=codebook_size,
            input_rate=16_000,
            output_rate=16_000,
            causal=True,
        ),
    )


def open_pair(role="loopback", receive=("pcm", "codes"), codebook_size=1024):
    client, server = ClientMachine(), ServerMachine()
    room = "lobby" if ROLES[role].in_room == "yes" else None
    server.receive(client.hello(Hello(role=role, room=room, receive=receive)))
    client.receive(server.ready(ready_for(role, receive, codebook_size)))
    return client, server


def refusal(machine, data):
    with pytest.raises(ProtocolError) as caught:
        machine.receive(data)
    return caught.value.name


def test_session_from_hello_to_end():
    client, server = ClientMachine(), ServerMachine()
    hello = Hello(role="loopback", receive=("pcm", "codes"), token="t")
    assert server.receive(client.hello(hello)) == hello
    ready = ready_for()
    assert client.receive(server.ready(ready)) == ready
    assert client.state is server.state is State.OPEN

    heard = server.receive(client.pcm(0, SOUND))
    assert isinstance(heard, Pcm)
    np.testing.assert_array_equal(heard.samples, SOUND)
    back = client.receive(server.codes(5, CODES, gap=True))
    assert isinstance(back, Codes)
    assert back.frame == 5
    assert back.gap
    np.testing.assert_array_equal(back.codes, CODES)
    assert client.receive(server.pcm(6, SOUND)).frame == 6

    assert server.receive(client.control(Ping(time=1.5))) == Ping(time=1.5)
    assert client.receive(server.control(Pong(time=1.5))) == Pong(time=1.5)
    notice = Notice(name="dropped", message="!")
    assert client.receive(server.control(notice)) == notice

    assert server.receive(client.end()) == End()
    assert isinstance(client.receive(server.pcm(7, SOUND)), Pcm)
    assert client.receive(server.end(End(frames=1, samples=6))) == End(frames=1, samples=6)
    assert client.state is server.state is State.CLOSED


def test_error_ends_the_session():
    client, server = open_pair()
    event = client.receive(server.error(protocol_error("bad_audio", retry_after=2.5)))
    assert isinstance(event, Error)
    assert (event.name, event.code, event.retry_after) == ("bad_audio", 4422, 2.5)
    assert client.state is server.state is State.CLOSED
    with pytest.raises(ProtocolError, match="may not send"):
        server.pcm(0, SOUND)
    with pytest.raises(ProtocolError, match="may not send"):
        client.pcm(0, SOUND)


@pytest.mark.parametrize(
    ("hello", "name"),
    [
        ({"role": "singer"}, "unknown_role"),
        ({"role": "mic"}, "bad_message"),
        ({"role": "loopback", "room": "lobby"}, "bad_message"),
        ({"role": "mic", "room": ""}, "bad_message"),
        ({"role": "mic", "room": "x" * 65}, "bad_message"),
        ({"role": "encode", "receive": ["pcm"]}, "not_allowed"),
        ({"role": "encode", "receive": ["smell"]}, "not_allowed"),
        ({"role": "encode", "send_rate": 22_050}, "unsupported_format"),
        ({"role": "encode", "receive_rate": 0}, "unsupported_format"),
        ({"role": "encode", "format": "opus"}, "unsupported_format"),
        ({"role": 7}, "bad_message"),
    ],
)
def test_bad_hello_is_refused(hello, name):
    text = msgspec.json.encode({"type": "hello", **hello}).decode()
    assert refusal(ServerMachine(), text) == name


def test_hello_comes_first_and_once():
    client, server = open_pair()
    assert refusal(ServerMachine(), client.pcm(0, SOUND)) == "hello_expected"
    assert refusal(ServerMachine(), '{"type":"end"}') == "hello_expected"
    assert refusal(ServerMachine(), '{"type":"no such type"}') == "hello_expected"
    assert refusal(server, '{"type":"hello","role":"encode"}') == "not_allowed"


def test_each_role_sends_and_receives_only_its_kinds():
    client, server = open_pair("decode", ("pcm",))
    with pytest.raises(ProtocolError, match="may not send pcm"):
        client.pcm(0, SOUND)
    with pytest.raises(ProtocolError, match="may not send codes"):
        server.codes(0, CODES)
    other, _ = open_pair()
    assert refusal(server, other.pcm(0, SOUND)) == "not_allowed"
    speaker, server = open_pair("speaker", ("codes",))
    with pytest.raises(ProtocolError):
        speaker.codes(0, CODES)
    assert isinstance(speaker.receive(server.codes(0, CODES)), Codes)


def test_nothing_may_be_sent_after_end():
    client, server = open_pair()
    server.receive(client.end())
    with pytest.raises(ProtocolError):
        client.pcm(0, SOUND)
    with pytest.raises(ProtocolError):
        client.end()
    other, _ = open_pair()
    assert refusal(server, other.pcm(0, SOUND)) == "not_allowed"
    assert refusal(server, '{"type":"end"}') == "not_allowed"
    client.receive(server.end(End()))
    with pytest.raises(ProtocolError):
        server.pcm(0, SOUND)


def test_sequence_numbers_must_be_consecutive():
    client, server = open_pair()
    first, second = client.pcm(0, SOUND), client.pcm(0, SOUND)
    assert refusal(server, second) == "bad_sequence"
    client, server = open_pair()
    server.receive(first)
    assert refusal(server, first) == "bad_sequence"
    client, server = open_pair()
    first, second = server.pcm(0, SOUND), server.pcm(1, SOUND)
    assert refusal(client, second) == "bad_sequence"


def test_unknown_kinds_are_ignored_but_counted():
    _, server = open_pair()
    assert server.receive(messages.encode(Media(77, 0, 0, b"whatever"))) is None
    assert isinstance(server.receive(messages.encode(Media(1, 1, 0, b"\1\0"))), Pcm)
    assert server.receive('{"type":"no such type"}') is None


def test_bad_payloads_are_refused():
    _, server = open_pair()
    assert refusal(server, messages.encode(Media(1, 0, 0, b"\0\0\0"))) == "bad_audio"
    client, server = open_pair("decode", ("pcm",), codebook_size=1000)
    assert refusal(server, messages.encode(Media(2, 0, 0, bytes(9)))) == "bad_codes"
    _, server = open_pair("decode", ("pcm",), codebook_size=1000)
    too_big = (1000).to_bytes(10, "little")
    assert refusal(server, messages.encode(Media(2, 0, 0, too_big))) == "bad_codes"
    for codes in (np.full((8, 1), 1000), np.full((8, 1), -1), np.zeros((7, 1), np.int64)):
        with pytest.raises(CodeError):
            client.codes(0, codes)


def test_server_may_not_send_client_messages():
    for text in ('{"type":"ping","time":1}', '{"type":"hello","role":"encode"}'):
        client, _ = open_pair()
        assert refusal(client, text) == "not_allowed"
    client, server = open_pair()
    assert refusal(ClientMachine(), server.pcm(0, SOUND)) == "not_allowed"
    assert refusal(ClientMachine(), '{"type":"end"}') == "not_allowed"


class Conversation(RuleBasedStateMachine):
    """Whatever is legal to write is legal to read, in any order, and arrives unchanged."""

    def __init__(self):
        super().__init__()
        self.client, self.server = open_pair()
        self.client_ended = self.server_ended = False

    samples = st.lists(st.integers(-32_768, 32_767), max_size=9)
    frames = st.lists(st.lists(st.integers(0, 1023), min_size=8, max_size=8), max_size=3)

    @rule(time=st.floats(allow_nan=False, allow_infinity=False))
    def client_pings(self, time):
        assert self.server.receive(self.client.control(Ping(time=time))) == Ping(time=time)

    @precondition(lambda self: not (self.client_ended or self.server_ended))
    @rule(samples=samples)
    def client_speaks(self, samples):
        heard = self.server.receive(self.client.pcm(0, np.array(samples, np.int16)))
        assert heard.samples.tolist() == samples

    @precondition(lambda self: not self.server_ended)
    @rule(samples=samples, gap=st.booleans())
    def server_speaks(self, samples, gap):
        heard = self.client.receive(self.server.pcm(3, np.array(samples, np.int16), gap=gap))
        assert (heard.samples.tolist(), heard.gap) == (samples, gap)

    @precondition(lambda self: not self.server_ended)
    @rule(frames=frames)
    def server_codes(self, frames):
        codes = np.array(frames, np.int64).reshape(-1, 8).T
        np.testing.assert_array_equal(self.client.receive(self.server.codes(3, codes)).codes, codes)

    @precondition(lambda self: not (self.client_ended or self.server_ended))
    @rule()
    def client_ends(self):
        assert isinstance(self.server.receive(self.client.end()), End)
        self.client_ended = True

    @precondition(lambda self: not self.server_ended)
    @rule()
    def server_ends(self):
        assert isinstance(self.client.receive(self.server.end(End())), End)
        self.server_ended = True


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


GARBAGE = st.one_of(
    st.text(),
    st.binary(),
    st.builds(
        lambda kind, seq, payload: messages.encode(Media(kind, seq, 0, payload)),
        *(st.integers(0, 3), st.integers(0, 4), st.binary(max_size=40)),
    ),
    st.sampled_from(
        [
            '{"type":"end"}',
            '{"type":"ack","received":0}',
            '{"type":"ping","time":1}',
            '{"type":"hello","role":"encode"}',
            '{"type":"ready"}',
            '{"type":"pong","time":1e999}',
        ]
    ),
)


def anything(machine, garbage):
    """Whatever comes, nothing but protocol errors comes of it, and only media move the count."""
    with suppress(ProtocolError):
        for data in garbage:
            before = machine.received
            machine.receive(data)
            moved = (-1 if machine.received is None else machine.received) - (
                -1 if before is None else before
            )
            assert moved in (0, 1) if isinstance(data, bytes) else moved == 0


@given(st.lists(GARBAGE, max_size=5), st.booleans(), st.booleans())
def test_garbage_raises_only_protocol_errors(garbage, is_open, is_server):
    fresh = ServerMachine() if is_server else ClientMachine()
    anything(open_pair()[is_server] if is_open else fresh, garbage)


@pytest.mark.slow
@settings(max_examples=50_000, derandomize=False)
@given(st.lists(GARBAGE, min_size=1, max_size=8), st.booleans())
def test_100000_garbage_messages_raise_only_protocol_errors(garbage, is_server):
    anything(open_pair()[is_server], garbage)


def test_sequence_numbers_continue_after_a_resume():
    client, server = open_pair()
    server.receive(client.pcm(0, SOUND))
    client.receive(server.pcm(0, SOUND))
    client.receive(server.pcm(1, SOUND))
    client.disconnected()
    assert refusal(client, server.pcm(2, SOUND)) == "not_allowed"
    assert (client.received, client.sent, server.received, server.sent) == (1, 0, 0, 2)
    client.receive(server.ready(ready_for()))
    assert server.receive(client.pcm(1, SOUND)).frame == 1
    assert client.receive(messages.encode(Media(1, 2, 5, b""))).frame == 5


def test_acknowledging_unsent_messages_is_refused():
    client, server = open_pair()
    server.pcm(0, SOUND)
    assert server.receive(client.control(Ack(received=0))) == Ack(received=0)
    for received in (-1, 1):
        assert refusal(server, client.control(Ack(received=received))) == "bad_sequence"
    assert refusal(client, server.control(Ack(received=0))) == "bad_sequence"


@pytest.mark.parametrize("role", ["user", "model"])
def test_user_and_model_may_clear_until_end(role):
    client, server = open_pair(role, ("pcm",))
    assert server.receive(client.clear()) == Clear()
    assert client.receive(server.control(Clear())) == Clear()
    cleared = Cleared(frame=3, played=1, dropped=2)
    assert client.receive(server.control(cleared)) == cleared
    playing = Playing(frame=3, played=1, speaking=False)
    assert client.receive(server.control(playing)) == playing
    server.receive(client.end())
    answer = Cleared(unplayed=5)
    assert server.receive(client.control(answer)) == answer
    with pytest.raises(ProtocolError):
        client.clear()
    assert refusal(server, '{"type":"clear"}') == "not_allowed"


def test_other_roles_may_not_clear():
    client, server = open_pair("loopback")
    with pytest.raises(ProtocolError, match="Only a user or a model"):
        client.clear()
    assert refusal(server, '{"type":"clear"}') == "not_allowed"
    assert refusal(server, '{"type":"cleared"}') == "not_allowed"
