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
from xyt_stream.protocol.realtime.server_events import ServerEvents, error_event

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
        self.sent, self.cancelled, self.played = [], [], 0
        super().__init__(
            model="Parrot",
            rate=16_000,
            send=self._keep,
            cancel_output=self.cancelled.append,
            played=lambda: self.played,
        )

    def on_speech(self, samples):
        self.played += 1
        super().on_speech(samples)

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
            "response.cancel": self.cancel,
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
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}]
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
    assert events[0]["type"] == "input_audio_buffer.speech_started"
    assert [event["type"] for event in events][-5:] == REPLY_ENDS
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
    dialogue.does("response.cancel", response_id=response)
    done = dialogue.take()[-1]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")


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
    dialogue.on_speech(FRAME)
    assert dialogue.types()[:3] == REPLY_BEGINS[1:]


def test_silent_model_completes_an_empty_response(dialogue):
    dialogue.does("response.create")
    dialogue.end_silent_response()
    done = dialogue.take()[-1]
    assert done["type"] == "response.done"
    assert (done["response"]["status"], done["response"]["output"]) == ("completed", [])
    dialogue.on_speech(FRAME)
    dialogue.take()
    dialogue.end_silent_response()  # it speaks: there is nothing to give up
    assert dialogue.types() == []


@pytest.mark.parametrize(
    "response",
    [{"output_modalities": ["text"]}, {"conversation": "none"}, {"input": []}],
)
def test_unsupported_response_options_are_refused(dialogue, response):
    with pytest.raises(EventError):
        dialogue.does("response.create", response=response)
    assert dialogue.types() == []


def test_truncation_is_checked_against_the_item(dialogue):
    for _ in range(5):
        dialogue.on_speech(FRAME)
    item = dialogue.take()[1]["item"]["id"]
    for _ in range(4):
        dialogue.on_silence(SILENCE)
    dialogue.take()
    place = {"item_id": item, "content_index": 0}
    dialogue.does("conversation.item.truncate", audio_end_ms=400, **place)
    (event,) = dialogue.take()
    assert event["audio_end_ms"] == 400
    for wrong in ({"audio_end_ms": 401}, {"audio_end_ms": 1, "item_id": "item_other"}):
        with pytest.raises(EventError):
            dialogue.does("conversation.item.truncate", **{**place, **wrong})


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
    assert truncate(first, 80) == 9  # of what is past it is not told
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
