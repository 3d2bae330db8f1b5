"""Every event that the server sends, validated by the types of the openai SDK."""

from __future__ import annotations

import base64
import json
from collections import Counter

import numpy as np
import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from xyt_stream.errors import EventError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.realtime.client_events import parse_event
from xyt_stream.protocol.realtime.error_events import error_event
from xyt_stream.protocol.realtime.items import new_item
from xyt_stream.protocol.realtime.server_events import ServerEvents

SERVER_EVENT = TypeAdapter(RealtimeServerEvent)
FRAME = np.full(1280, 0.1, np.float32)
SILENCE = np.zeros(1280, np.float32)
REPLY_BEGINS = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
REPLY_ENDS = [
    "response.output_audio.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


class Recorded(ServerEvents):
    """Keeps what it sends, every event proved to be one of the SDK's."""

    def __init__(self):
        self.sent, self.cancelled, self.played, self.frame = [], [], 0, 0
        super().__init__(
            model="Parrot",
            rate=16_000,
            send=self._keep,
            cancel_output=self.cancelled.append,
            played=lambda: self.played,
        )

    def on_speech(self, samples):
        self.played += 1
        self._next(True, samples)

    def on_silence(self, samples):
        self._next(False, samples)

    def _next(self, speaks, samples):
        self.responses.on_output(self.frame, speaks, samples)
        self.frame += 1

    def hears(self, frames, *, speech=False):
        """The model gets frames of the user's; it answers each at once."""
        for index in range(self.frame, self.frame + frames):
            self.responses.heard_frame(index, speech)

    def _create_item(self, event):
        new = new_item(event.item)
        self.check_new_item(new.id, event.previous_item_id)
        self.add_item(new, event.previous_item_id)

    def _keep(self, text):
        event = json.loads(text)
        parsed = SERVER_EVENT.validate_python(event)
        assert parsed.type == event["type"]
        # Nothing is sent that the SDK does not know.
        assert not getattr(parsed, "model_extra", None)
        self.sent.append(event)

    def take(self):
        events, self.sent = self.sent, []
        return events

    def types(self):
        return [event["type"] for event in self.take()]

    def does(self, kind, **fields):
        event, _, error = parse_event(json.dumps({"type": kind, **fields}))
        assert error is None
        {
            "session.update": self.update,
            "response.create": self.create,
            "response.cancel": lambda event: self.responses.cancel(event.response_id),
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": lambda event: self.retrieve(event.item_id),
            "conversation.item.delete": lambda event: self.delete(event.item_id),
            "conversation.item.truncate": self.truncate,
        }[kind](event)

    def turns(self, turn_detection):
        audio = {"input": {"turn_detection": turn_detection}}
        self.does("session.update", session={"type": "realtime", "audio": audio})
        self.take()


@pytest.fixture
def dialogue():
    return Recorded()


def test_session_describes_itself(dialogue):
    dialogue.open()
    dialogue.does("session.update", session={"type": "realtime"})
    created, updated = dialogue.take()
    assert (created["type"], updated["type"]) == ("session.created", "session.updated")
    assert created["session"] == updated["session"]
    session = created["session"]
    assert session["model"] == "Parrot"
    assert session["output_modalities"] == ["audio"]
    assert session["id"] == dialogue.id
    assert created["event_id"] != updated["event_id"]


def test_turn_and_response_send_every_event_in_order(dialogue):
    dialogue.speech_started(120)
    dialogue.speech_stopped(1900)
    for sound in (SILENCE, SILENCE):
        dialogue.on_silence(sound)
    for sound in (FRAME, FRAME):
        dialogue.on_speech(sound)
    for _ in range(4):
        dialogue.on_silence(SILENCE)
    events = dialogue.take()
    types = [event["type"] for event in events]
    deltas = types.count("response.output_audio.delta")
    assert types == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        *REPLY_BEGINS,
        *deltas * ["response.output_audio.delta"],
        *REPLY_ENDS,
    ]
    started, stopped, committed, added, done = events[:5]
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (120, 1900)
    user = started["item_id"]
    assert {event.get("item_id") for event in (started, stopped, committed)} == {user}
    assert added["item"] == done["item"]
    assert added["item"]["id"] == user
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": ""}]
    assert events[7]["previous_item_id"] == user  # the model's item comes after the user's
    final = events[-1]["response"]
    assert final["status"] == "completed"
    assert [item["id"] for item in final["output"]] == [events[6]["item"]["id"]]
    assert {event.get("response_id", final["id"]) for event in events} == {final["id"]}
    audio = b"".join(base64.b64decode(event.get("delta", "")) for event in events)
    assert len(audio) == 2 * 2 * 1280 * 24 // 16  # what it said, and none of its silence
    assert len({event["event_id"] for event in events}) == len(events)


def test_short_pause_stays_in_the_response(dialogue):
    for sound in (FRAME, None, None, FRAME, None, None, None, None, None):
        dialogue.on_silence(SILENCE) if sound is None else dialogue.on_speech(sound)
    events = dialogue.take()
    counts = Counter(event["type"] for event in events)
    assert counts["response.created"] == counts["response.done"] == 1
    audio = b"".join(base64.b64decode(event.get("delta", "")) for event in events)
    assert len(audio) == 4 * 2 * 1280 * 24 // 16


def test_user_speech_cancels_the_response(dialogue):
    dialogue.on_speech(FRAME)
    dialogue.take()
    dialogue.speech_started(0)
    events = dialogue.take()
    # Clients have stopped the sound by then: not even the resampler's rest may follow.
    assert [event["type"] for event in events] == [
        "input_audio_buffer.speech_started",
        *REPLY_ENDS,
    ]
    response = events[-1]["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert response["output"][0]["status"] == "incomplete"
    assert dialogue.cancelled == [None]
    # One that speaks on is not heard until it has been silent, or the turn is over.
    dialogue.on_speech(FRAME)
    assert dialogue.types() == []
    dialogue.on_silence(SILENCE)
    dialogue.on_speech(FRAME)
    assert dialogue.types()[:4] == REPLY_BEGINS


def test_no_interruption_when_interrupt_response_is_off(dialogue):
    dialogue.turns({"type": "server_vad", "interrupt_response": False})
    dialogue.on_speech(FRAME)
    dialogue.take()
    dialogue.speech_started(0)
    assert dialogue.types() == ["input_audio_buffer.speech_started"]
    assert dialogue.cancelled == []


def test_model_that_never_stops_is_heard_after_the_turn(dialogue):
    dialogue.on_speech(FRAME)
    dialogue.speech_started(0)
    dialogue.on_speech(FRAME)
    dialogue.speech_stopped(100)
    dialogue.take()
    dialogue.on_speech(FRAME)
    assert dialogue.types()[:4] == REPLY_BEGINS


def test_client_cancels_the_response(dialogue):
    with pytest.raises(EventError) as caught:
        dialogue.does("response.cancel")
    assert caught.value.code == "response_cancel_not_active"
    dialogue.on_speech(FRAME)
    response = dialogue.take()[0]["response"]["id"]
    with pytest.raises(EventError):
        dialogue.does("response.cancel", response_id="resp_other")
    dialogue.take()
    dialogue.does("response.cancel", response_id=response)
    events = dialogue.take()
    assert [event["type"] for event in events] == REPLY_ENDS
    done = events[-1]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    with pytest.raises(EventError, match=r"^Cancellation failed: no active response found"):
        dialogue.does("response.cancel", response_id=response)


@pytest.mark.parametrize("turns", [None, {"type": "server_vad", "create_response": False}])
def test_no_response_unless_created_without_live_turns(dialogue, turns):
    dialogue.turns(turns)
    dialogue.on_speech(FRAME)
    assert dialogue.types() == []
    dialogue.does("response.create", response={"metadata": {"topic": "demo"}})
    (created,) = dialogue.take()
    assert created["response"]["metadata"] == {"topic": "demo"}
    assert created["response"]["output"] == []
    with pytest.raises(EventError) as caught:
        dialogue.does("response.create")
    assert caught.value.code == "conversation_already_has_active_response"
    assert created["response"]["id"] in str(caught.value)
    dialogue.responses.heard_all(dialogue.frame)
    assert dialogue.types()[:3] == REPLY_BEGINS[1:]


def answer(dialogue):
    """Ends the response with silence; how many frames of speech and of pauses it holds."""
    while dialogue.response is not None:
        dialogue.on_silence(SILENCE)
    events = dialogue.take()
    assert [event["type"] for event in events].count("response.done") == 1
    audio = b"".join(base64.b64decode(event.get("delta", "")) for event in events)
    return len(audio) / (2 * 1280 * 24 / 16)


def test_answer_follows_the_whole_input(dialogue):
    dialogue.turns(None)
    dialogue.hears(10, speech=True)
    dialogue.on_silence(SILENCE)
    for _ in range(3):
        dialogue.on_speech(FRAME)  # in a pause of the user's
    dialogue.hears(5, speech=True)
    for _ in range(5):
        dialogue.on_silence(SILENCE)
    dialogue.does("response.create")
    dialogue.responses.heard_all(dialogue.frame)
    for _ in range(6):
        dialogue.on_silence(SILENCE)
    for _ in range(4):
        dialogue.on_speech(FRAME)
    assert answer(dialogue) == 4


def test_answer_begun_in_the_silence_after_the_last_word_is_kept(dialogue):
    dialogue.turns(None)
    dialogue.hears(10, speech=True)
    for _ in range(10):
        dialogue.on_silence(SILENCE)
    dialogue.hears(30)
    for _ in range(3):
        dialogue.on_speech(FRAME)
    assert dialogue.types() == []
    dialogue.does("response.create")
    dialogue.on_speech(FRAME)
    assert dialogue.types() == ["response.created"]  # not yet: the input is not whole
    dialogue.responses.heard_all(dialogue.frame)
    for _ in range(2):
        dialogue.on_speech(FRAME)
    assert answer(dialogue) == 6


def test_answer_that_ended_within_the_input_may_go_on(dialogue):
    dialogue.turns(None)
    for _ in range(3):
        dialogue.on_speech(FRAME)
    for _ in range(8):
        dialogue.on_silence(SILENCE)
    dialogue.does("response.create")
    dialogue.responses.heard_all(dialogue.frame)
    for _ in range(9):
        dialogue.on_silence(SILENCE)
    dialogue.on_speech(FRAME)
    assert answer(dialogue) == 3 + 17 + 1


def test_answer_after_the_input_ends_with_its_first_long_silence(dialogue):
    dialogue.turns(None)
    dialogue.does("response.create")
    dialogue.responses.heard_all(dialogue.frame)
    dialogue.on_speech(FRAME)
    for _ in range(4):
        dialogue.on_silence(SILENCE)
    assert dialogue.response is None


def test_cancelled_answer_does_not_come_with_the_next_response(dialogue):
    dialogue.turns(None)
    dialogue.does("response.create")
    dialogue.responses.heard_all(0)
    dialogue.on_speech(FRAME)
    dialogue.does("response.cancel")
    for _ in range(3):
        dialogue.on_speech(FRAME)  # the model speaks on, although it was cancelled
    dialogue.take()
    dialogue.on_silence(SILENCE)
    dialogue.does("response.create")
    dialogue.responses.heard_all(dialogue.frame)
    dialogue.on_speech(FRAME)
    assert answer(dialogue) == 1


def test_usage_counts_frames(dialogue):
    dialogue.hears(25)
    dialogue.on_speech(FRAME)
    dialogue.on_silence(SILENCE)
    dialogue.on_speech(FRAME)
    for _ in range(4):
        dialogue.on_silence(SILENCE)
    usage = dialogue.take()[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (25, 2, 27)
    assert usage["input_token_details"]["audio_tokens"] == 25
    assert usage["input_token_details"]["cached_tokens_details"]["audio_tokens"] == 0
    assert usage["output_token_details"] == {"audio_tokens": 2, "text_tokens": 0}
    dialogue.hears(5)
    dialogue.does("response.create")
    dialogue.responses.end_silent_response()
    usage = dialogue.take()[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (5, 0)


def test_silent_model_completes_an_empty_response(dialogue):
    dialogue.does("response.create")
    dialogue.responses.end_silent_response()
    done = dialogue.take()[-1]
    assert done["type"] == "response.done"
    assert (done["response"]["status"], done["response"]["output"]) == ("completed", [])
    dialogue.on_speech(FRAME)
    dialogue.take()
    dialogue.responses.end_silent_response()  # it speaks: there is nothing to give up
    assert dialogue.types() == []


@pytest.mark.parametrize(
    ("response", "param"),
    [
        ({"output_modalities": ["text"]}, "response.output_modalities"),
        ({"conversation": "conv_other"}, "response.conversation"),
    ],
)
def test_unsupported_response_options_are_refused(dialogue, response, param):
    with pytest.raises(EventError) as caught:
        dialogue.does("response.create", response=response)
    assert (caught.value.code, caught.value.param) == ("invalid_value", param)
    assert dialogue.types() == []


def test_response_outside_the_conversation_adds_no_item(dialogue):
    dialogue.does("response.create", response={"conversation": "none"})
    dialogue.on_speech(FRAME)
    for _ in range(4):
        dialogue.on_silence(SILENCE)
    events = dialogue.take()
    assert not [event for event in events if event["type"].startswith("conversation.item")]
    assert events[0]["response"]["conversation_id"] is None
    with pytest.raises(EventError):
        dialogue.does("conversation.item.retrieve", item_id=events[1]["item"]["id"])


def test_response_may_have_a_format_of_its_own(dialogue):
    audio = {"output": {"format": {"type": "audio/pcmu"}}}
    dialogue.does("response.create", response={"audio": audio})
    dialogue.on_speech(FRAME)
    for _ in range(4):
        dialogue.on_silence(SILENCE)
    events = dialogue.take()
    assert events[0]["response"]["audio"]["output"]["format"]["type"] == "audio/pcmu"
    audio = b"".join(base64.b64decode(event.get("delta", "")) for event in events)
    assert len(audio) == 640  # 80 ms at 8 kHz


@pytest.mark.parametrize("metadata", [{"n": 1}, "word", ["a"], {"a": {}}, {"k" * 65: "v"}])
def test_bad_metadata_is_refused_and_the_response_made(dialogue, metadata):
    dialogue.does("response.create", event_id="mine", response={"metadata": metadata})
    created, error = dialogue.take()
    assert created["type"] == "response.created"
    assert created["response"]["metadata"] is None
    assert (error["error"]["param"], error["error"]["event_id"]) == ("response.metadata", "mine")


def test_truncation_past_the_end_is_the_end(dialogue):
    for _ in range(5):
        dialogue.on_speech(FRAME)
    item = dialogue.take()[1]["item"]["id"]
    for _ in range(4):
        dialogue.on_silence(SILENCE)
    dialogue.take()
    for asked, reported in ((400, 400), (401, 400), (10**9, 400), (0, 0)):
        dialogue.does("conversation.item.truncate", item_id=item, audio_end_ms=asked)
        (event,) = dialogue.take()
        assert (event["audio_end_ms"], event["content_index"]) == (reported, 0)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"item_id": "item_other"}, "item_truncate_invalid_item_id"),
        ({"item_id": "item_text"}, "invalid_value"),
        ({"item_id": "item_text", "content_index": 1}, "invalid_value"),
    ],
)
def test_impossible_truncations_are_refused(dialogue, fields, code):
    dialogue.does("conversation.item.create", item=text_item("assistant", id="item_text"))
    with pytest.raises(EventError) as caught:
        dialogue.does("conversation.item.truncate", audio_end_ms=1, **fields)
    assert caught.value.code == code


def text_item(role, text="Hello", **fields):
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **fields}


def test_items_keep_their_ids_and_order(dialogue):
    for number, role in enumerate(("system", "user", "assistant")):
        dialogue.does("conversation.item.create", item=text_item(role, id=f"i{number}"))
    dialogue.does(
        "conversation.item.create", item=text_item("user", id="first"), previous_item_id="root"
    )
    dialogue.does(
        "conversation.item.create", item=text_item("user", id="late"), previous_item_id="i0"
    )
    events = dialogue.take()
    assert [event["type"] for event in events] == 5 * [
        "conversation.item.added",
        "conversation.item.done",
    ]
    placed = [(event["previous_item_id"], event["item"]["id"]) for event in events[::2]]
    assert placed == [(None, "i0"), ("i0", "i1"), ("i1", "i2"), (None, "first"), ("i0", "late")]
    assert [event["item"] for event in events[::2]] == [event["item"] for event in events[1::2]]
    dialogue.on_speech(FRAME)
    item = dialogue.take()[1]["item"]["id"]
    dialogue.does("conversation.item.create", item=text_item("user"))
    assert dialogue.take()[0]["previous_item_id"] == item


def test_items_are_retrieved_and_deleted(dialogue):
    dialogue.on_speech(FRAME)
    item = dialogue.take()[1]["item"]["id"]
    dialogue.does("conversation.item.retrieve", item_id=item)
    assert dialogue.take()[0]["item"]["status"] == "in_progress"
    dialogue.does("response.cancel")
    dialogue.take()
    dialogue.does("conversation.item.retrieve", item_id=item)
    (event,) = dialogue.take()
    assert event["type"] == "conversation.item.retrieved"
    assert event["item"]["status"] == "incomplete"
    assert event["item"]["content"] == [{"type": "output_audio"}]
    dialogue.does("conversation.item.delete", item_id=item)
    (event,) = dialogue.take()
    assert (event["type"], event["item_id"]) == ("conversation.item.deleted", item)
    for verb, doing in (("retrieve", "retrieving"), ("delete", "deleting")):
        with pytest.raises(EventError, match=f"Error {doing} item: the item with id") as caught:
            dialogue.does(f"conversation.item.{verb}", item_id=item)
        assert caught.value.code == f"item_{verb}_invalid_item_id"


def test_no_event_says_that_a_transcript_is_null(dialogue):
    dialogue.speech_started(0)
    dialogue.speech_stopped(100)
    dialogue.on_speech(FRAME)
    for _ in range(4):
        dialogue.on_silence(SILENCE)
    assert '"transcript": null' not in json.dumps(dialogue.take())


def test_truncation_reports_the_frames_played(dialogue):
    def truncate(item, ms):
        place = {"item_id": item, "content_index": 0}
        dialogue.does("conversation.item.truncate", audio_end_ms=ms, **place)
        return dialogue.cancelled[-1] if dialogue.cancelled else None

    def says(*parts):
        for part in parts:
            (dialogue.on_speech if part is FRAME else dialogue.on_silence)(part)
        return next(
            event["item"]["id"] for event in dialogue.take() if event["type"] == REPLY_BEGINS[1]
        )

    first = says(*[FRAME] * 5, SILENCE, *[FRAME] * 2, *[SILENCE] * 4)
    assert [truncate(first, ms) for ms in (640, 639, 480, 430, 400, 399, 80, 0)] == [
        *(7, 6, 5, 5, 5, 4, 1, 0)
    ]
    second = says(*[FRAME] * 3)
    assert truncate(second, 170) == 7 + 2  # while it goes on
    assert truncate(first, 80) == 9  # the model gets no report about an item of the past
    for _ in range(4):
        dialogue.on_silence(SILENCE)
    assert truncate(second, 90) == 7 + 1
    dialogue.does("response.create")
    assert truncate(second, 0) == 8  # nor while it is to speak


def test_errors_carry_code_param_and_event_id(dialogue):
    dialogue.refuse(EventError("invalid_value", "No.", "a.b"), "event_of_client")
    dialogue.on_speech(FRAME)
    dialogue.take_error = dialogue.sent.pop(0)
    assert dialogue.take_error["error"] == {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "No.",
        "param": "a.b",
        "event_id": "event_of_client",
    }
    dialogue.fail(protocol_error("internal"))
    events = dialogue.take()
    assert events[-2]["response"]["status"] == "failed"
    assert events[-1]["error"]["type"] == "server_error"
    error = json.loads(error_event(protocol_error("unauthorized")))
    assert SERVER_EVENT.validate_python(error).error.code == "unauthorized"
