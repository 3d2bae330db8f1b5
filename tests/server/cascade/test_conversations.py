"""Speakers at other nodes than their conversation hear what they would hear at its own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Clear, End
from xyt_stream.server.cascade import subscription

from ...conftest import code_frames
from ..duplex.duplex_models import Sometimes
from ..proxy import Proxy
from .conftest import several
from .test_rooms import drained, joined

VOICES = (None, "user", "model")
SPEECH = {"send": "codes", "receive": ("codes",)}


class Ears:
    """Keeps what a speaker is sent.

    Attributes:
        codes: of each frame, by its number.
        clears: number of the last frame of codes before each interruption; -1 before any.
        error: that ended it; None: none has.
    """

    def __init__(self, connection):
        self.connection = connection
        self.events = []
        self.error = None
        self.task = asyncio.create_task(self._listen())

    async def _listen(self):
        try:
            async for event in self.connection:
                self.events.append(event)
        except ProtocolError as error:
            self.error = error

    @property
    def frames(self):
        return code_frames(self.events)

    @property
    def codes(self):
        found = [each for each in self.events if isinstance(each, Codes)]
        frames = [
            (each.frame + n, each.codes[:, n]) for each in found for n in range(each.codes.shape[1])
        ]
        return {number: codes.tolist() for number, codes in frames}

    @property
    def gaps(self):
        return sum(each.gap for each in self.events if isinstance(each, Pcm | Codes))

    @property
    def clears(self):
        return [
            max(code_frames(self.events[:place]), default=-1)
            for place, each in enumerate(self.events)
            if isinstance(each, Clear)
        ]

    async def end(self):
        await asyncio.wait_for(self.task, 120)
        assert self.error is None
        assert isinstance(self.events[-1], End)


class Talk:
    """A conversation in room "r" and its speakers, which are all told the end.

    Attributes:
        user, model: its connections.
        ears: by node and voice.
    """

    def __init__(self, stack):
        self.stack = stack
        self.ears = {}

    async def join(self, url, role, **options):
        return await self.stack.enter_async_context(connect(url, role, room="r", **options))

    async def converse(self, url, first="user", between=None, **options):
        options = SPEECH | options
        for role in ("user", "model") if first == "user" else ("model", "user"):
            setattr(self, role, await self.join(url, role, **options))
            if between is not None:
                await between()
                between = None
        # They go on only while they are read.
        self.heard = [Ears(self.user), Ears(self.model)]

    async def listen(self, name, url, voices=VOICES, **options):
        for voice in voices:
            options = {"receive": ("codes",)} | options
            speaker = await self.join(url, "speaker", voice=voice, **options)
            self.ears[name, voice] = Ears(speaker)

    async def say(self, until, codes):
        """The user's frames, one after another, each as soon as the one before was heard."""
        heard = self.heard[1]
        for frame in codes.T:
            count = len(heard.frames)
            await self.user.send_codes(frame[:, None])
            await until(lambda count=count: len(heard.frames) > count)

    async def answer(self, until, codes):
        """Queues the model's frames in the conversation, at the node where it is."""
        await self.model.send_codes(codes)

    async def end(self):
        await self.user.end()
        for each in self.ears.values():
            await each.end()
        await self.stack.aclose()  # before a proxy closes: a node waits for clients that are cut

    def alike(self, names, voices=VOICES):
        """Speakers at these nodes heard the same."""
        first, *others = names
        for voice in voices:
            wanted = self.ears[first, voice]
            for each in (self.ears[name, voice] for name in others):
                assert each.frames == wanted.frames
                assert each.codes == wanted.codes
                assert each.clears == wanted.clears
                assert each.gaps == wanted.gaps == 0
                assert each.events[-1].frames == wanted.events[-1].frames


@pytest.fixture
async def talk():
    async with AsyncExitStack() as stack:
        yield Talk(stack)


@pytest.fixture
def patient(monkeypatch):
    """Speakers wait for their conversation's node for as long as a busy machine takes."""
    monkeypatch.setattr(subscription, "_LOST_TIME", 60.0)


def backwards(codes):
    return codes[:, ::-1]


@pytest.mark.parametrize("order", ["sum", "ums", "mus", "smu", "usm", "msu"])
async def test_a_conversation_is_heard_at_all_nodes(relays, talk, codes, until, order):
    """In every order in which speakers, user and model come."""
    roles = {
        "s": lambda: asyncio.gather(*(talk.listen(each, relays.url(each)) for each in "abc")),
        "u": lambda: talk.join(relays.url("a"), "user", **SPEECH),
        "m": lambda: talk.join(relays.url("a"), "model", **SPEECH),
    }
    came = {role: await roles[role]() for role in order}
    talk.user, talk.model = came["u"], came["m"]
    talk.heard = [Ears(talk.user), Ears(talk.model)]
    await joined(relays, "b")
    await joined(relays, "c")
    await talk.answer(until, backwards(codes)[:, :7])
    await talk.say(until, codes[:, :12])
    await talk.answer(until, backwards(codes)[:, 7:12])
    await talk.say(until, codes[:, 12:20])
    assert relays.figure("a", "xyt_subscriptions_out") == 2
    await talk.end()
    talk.alike("abc")
    assert talk.ears["b", "user"].codes == {n: codes[:, n].tolist() for n in range(20)}
    said = list(talk.ears["b", None].codes.values())
    assert said == backwards(codes)[:, :12].T.tolist()
    assert talk.ears["b", None].codes == talk.ears["b", "model"].codes
    await until(lambda: not relays.figure("a", "xyt_subscriptions_out"))
    await until(lambda: not relays.figure("b", "xyt_subscriptions_in"))


async def test_an_interruption_is_heard_at_all_nodes(relays, talk, codes, until):
    for name in "abc":
        await talk.listen(name, relays.url(name))
    await talk.converse(relays.url("a"))
    for name in "bc":
        await joined(relays, name)
    for by in (talk.user, talk.model):
        await talk.answer(until, backwards(codes))
        await talk.say(until, codes[:, :5])
        counts = {key: len(each.clears) for key, each in talk.ears.items()}
        await by.clear()
        hears = [key for key in talk.ears if key[1] != "user"]
        await until(
            lambda hears=hears, counts=counts: all(
                len(talk.ears[key].clears) > counts[key] for key in hears
            )
        )
        await talk.say(until, codes[:, 5:8])
    await talk.end()
    talk.alike("abc")
    assert talk.ears["b", None].clears != []
    assert talk.ears["b", "user"].clears == []


async def test_a_speaker_that_comes_later_hears_the_rest_of_it(relays, talk, codes, until):
    await talk.converse(relays.url("a"))
    await talk.listen("a", relays.url("a"))
    await talk.answer(until, backwards(codes))
    await talk.say(until, codes[:, :10])
    await talk.listen("b", relays.url("b"))
    await joined(relays, "b")
    await talk.say(until, codes[:, 10:20])
    await talk.end()
    for voice in VOICES:
        late, wanted = talk.ears["b", voice].codes, talk.ears["a", voice].codes
        assert set(late) >= set(range(11, 20))
        assert late == {number: wanted[number] for number in late}


async def test_a_speaker_stays_for_the_next_conversation(relays, talk, codes, until):
    async with connect(relays.url("a"), "user", room="r", **SPEECH) as user:
        await user.send_codes(codes[:, :5])
    await until(lambda: not relays["a"].service.sessions())
    await talk.listen("b", relays.url("b"))
    await talk.converse(relays.url("c"))
    await joined(relays, "b")
    await talk.answer(until, backwards(codes)[:, :3])
    await talk.say(until, codes[:, :10])
    await talk.end()
    assert len(talk.ears["b", None].codes) == 3
    assert talk.ears["b", "user"].frames == list(range(10))


@pytest.mark.parametrize("to", ["b", "c"])
async def test_speakers_follow_a_conversation_that_moves(relays, talk, codes, until, to):
    """To one of their own nodes, from which the other gets it; those beside it move along."""
    async with Proxy(relays["a"].port) as proxy:
        await talk.listen("a", proxy.url)
        for name in "bc":
            await talk.listen(name, relays.url(name))
        await talk.converse(proxy.url)
        for name in "bc":
            await joined(relays, name)
        await talk.answer(until, backwards(codes)[:, :20])
        await talk.say(until, codes[:, :10])
        moving = asyncio.create_task(drained(relays, "a", proxy, to))
        await talk.say(until, codes[:, 10:30])
        await moving
        await talk.model.clear()
        await talk.answer(until, backwards(codes)[:, 20:25])
        await talk.say(until, codes[:, 30:40])
        assert relays[to].service.rooms.get("r").conversation is not None
        await talk.end()
        talk.alike("abc")
        assert len(talk.ears["b", None].codes) >= 25 - 1
        assert talk.ears["c", "user"].codes == {n: codes[:, n].tolist() for n in range(40)}
        for name in "bc":
            assert relays.figure(name, 'xyt_subscribed_frames_total{direction="lost"}') == 0


@pytest.mark.parametrize("to", ["a", "c"])
async def test_speakers_move_without_their_conversation(relays, talk, codes, until, to):
    """Their node goes away: they come to the conversation's, or to a third one."""
    async with Proxy(relays["b"].port) as proxy:
        await talk.listen("a", relays.url("a"))
        await talk.listen("b", proxy.url)
        await talk.converse(relays.url("a"))
        await joined(relays, "b")
        await talk.answer(until, backwards(codes)[:, :20])
        await talk.say(until, codes[:, :10])
        moving = asyncio.create_task(drained(relays, "b", proxy, to))
        await talk.say(until, codes[:, 10:30])
        await moving
        await talk.answer(until, backwards(codes)[:, 20:25])
        await talk.say(until, codes[:, 30:40])
        await talk.end()
        talk.alike("ab")


async def test_a_broken_connection_between_nodes_loses_nothing_of_it(
    relays, talk, codes, until, patient
):
    async with Proxy(relays["a"].port) as proxy:
        relays.peers["b"]._urls["a"] = proxy.url.replace("ws:", "http:")
        await talk.listen("a", relays.url("a"))
        await talk.listen("b", relays.url("b"))
        await talk.converse(relays.url("a"))
        await joined(relays, "b")
        await talk.answer(until, backwards(codes)[:, :15])
        await talk.say(until, codes[:, :5])
        await until(lambda: talk.ears["b", None].frames != [])
        for start in (5, 20):
            proxy.refuses = True
            proxy.cut()
            await talk.say(until, codes[:, start : start + 3])
            await talk.user.clear()
            await talk.say(until, codes[:, start + 3 : start + 9])
            proxy.refuses = False
            await joined(relays, "b")
            await talk.answer(until, backwards(codes)[:, 15:24])
            await talk.say(until, codes[:, start + 9 : start + 15])
        await talk.end()
        near, far = talk.ears["a", None], talk.ears["b", None]
        assert talk.ears["b", "user"].codes == {n: codes[:, n].tolist() for n in range(35)}
        # The other node never gets frames that were dropped while the nodes were apart.
        assert far.codes == {number: near.codes[number] for number in far.codes}
        apart = {*range(5, 8), *range(20, 23)}
        assert set(near.codes) - set(far.codes) == set(near.codes) & apart >= {5, 6, 7}
        assert len(far.clears) == 2
        assert relays.figure("b", 'xyt_subscribed_frames_total{direction="lost"}') == 0


async def test_a_conversation_s_sound_is_decoded_at_each_node(codec, clip, direct, until, talk):
    """From codes and from sound; the silence between the model's words is heard, too."""
    async with several(codec, "ab") as nodes:
        wants = {"receive": ("pcm", "codes")}
        for name in "ab":
            await talk.listen(name, nodes.url(name), (None, "user"), **wants)
        talk.user = await talk.join(nodes.url("a"), "user", receive=("codes",))
        talk.model = await talk.join(nodes.url("a"), "model", **SPEECH)
        talk.heard = [Ears(talk.user), Ears(talk.model)]
        await joined(nodes, "b")
        await talk.answer(until, direct.codes[:, :4])
        await talk.user.send_pcm(clip)
        await talk.end()
        for voice in (None, "user"):
            near, far = talk.ears["a", voice], talk.ears["b", voice]
            assert far.codes == near.codes != {}
            sounds = [
                np.concatenate([each.samples for each in ears.events if isinstance(each, Pcm)])
                for ears in (near, far)
            ]
            assert abs(len(sounds[0]) - len(sounds[1])) < 1280
            short = min(map(len, sounds)) - 1280
            apart = np.abs(sounds[0][:short].astype(int) - sounds[1][:short])
            assert apart.max() <= 2
        await until(lambda: nodes["b"].engine.free_slots == 4)


async def test_a_conversation_with_a_model_of_its_node_is_heard_at_others(codec, clip, until, talk):
    async with several(codec, "ab", duplex=Sometimes) as nodes:
        for name in "ab":
            await talk.listen(name, nodes.url(name))
        talk.user = await talk.join(nodes.url("a"), "user", receive=("codes",))
        talk.heard = [Ears(talk.user)]
        await joined(nodes, "b")
        await talk.user.send_pcm(clip[: 7 * 1280])
        await until(lambda: len(talk.ears["b", "user"].frames) == 7)
        await until(lambda: talk.ears["b", None].frames == [2, 5])
        await talk.user.clear()
        await until(lambda: talk.ears["b", None].clears == talk.ears["a", None].clears == [5])
        await talk.user.send_pcm(clip[7 * 1280 : 12 * 1280])
        await talk.end()
        talk.alike("ab")
        assert talk.ears["b", "model"].frames == [2, 5]  # it is silent after `clear`


async def test_an_encrypted_conversation_stays_so_between_nodes(relays, talk, codes, until):
    pytest.importorskip("cryptography", reason="encrypted rooms need the extra seal")
    key = {"key": "a key for this test", "send": None, "receive": None}
    await talk.listen("b", relays.url("b"), **{k: key[k] for k in ("key", "receive")})
    await talk.converse(relays.url("a"), **key)
    await joined(relays, "b")
    without = Ears(await talk.join(relays.url("c"), "speaker", receive=("codes",)))
    await asyncio.wait_for(without.task, 120)
    assert without.error.name == "room_sealed"
    await talk.answer(until, backwards(codes)[:, :3])
    await talk.say(until, codes[:, :6])
    await talk.end()
    assert list(talk.ears["b", None].codes.values()) == backwards(codes)[:, :3].T.tolist()
    assert list(talk.ears["b", "user"].codes.values()) == codes[:, :6].T.tolist()


@pytest.mark.parametrize("first", ["user", "model"])
async def test_speakers_leave_places_for_user_and_model(codes, until, talk, first):
    """The speakers that do not fit beside them are served elsewhere."""
    async with several(None, "ab", members=4) as nodes:
        a = nodes.url("a")

        async def fill():
            for _ in range(4):
                with suppress(ProtocolError):  # busy, by 503: a proxy tries another node
                    await talk.join(a, "speaker", receive=("codes",))

        await fill()
        await talk.converse(a, first, between=fill)
        await fill()
        assert nodes["a"].service.rooms.get("r").members == 5
        for role in ("model", "user"):
            with pytest.raises(ProtocolError, match=f"has a {role}"):
                await talk.join(a, role, **SPEECH)
        await talk.listen("b", nodes.url("b"), (None,))
        await joined(nodes, "b")
        await talk.answer(until, codes[:, :3])
        await talk.say(until, codes[:, :5])
        await talk.end()
        assert len(talk.ears["b", None].codes) == 3
