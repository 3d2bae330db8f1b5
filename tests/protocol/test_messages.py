import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol import messages
from xyt_stream.protocol.messages import Kind, Media
from xyt_stream.protocol.packing import pack_codes

RECORDED = json.loads((Path(__file__).parent / "wire.json").read_text())


def by_name(entries):
    return [pytest.param(entry, id=entry["name"]) for entry in entries]


def data_of(entry):
    return entry["text"] if "text" in entry else bytes.fromhex(entry["hex"])


@pytest.mark.parametrize("entry", by_name(RECORDED["control"]))
def test_control_messages_equal_the_recorded_text(entry):
    message = messages.decode(entry["text"])
    assert json.loads(entry["text"]) == entry["message"]
    assert messages.encode(message) == entry["text"]


def test_every_control_type_is_recorded():
    recorded = {entry["message"]["type"] for entry in RECORDED["control"]}
    types = {cls.__struct_config__.tag for cls in messages.Control.__subclasses__()}
    assert types == recorded


@pytest.mark.parametrize("entry", by_name(RECORDED["readable"]))
def test_missing_fields_get_defaults_and_unknown_are_ignored(entry):
    assert json.loads(messages.encode(messages.decode(entry["text"]))) == entry["message"]


@pytest.mark.parametrize("entry", by_name(RECORDED["media"]))
def test_media_messages_equal_the_recorded_bytes(entry):
    if entry["kind"] == "pcm":
        kind, payload = Kind.PCM, np.array(entry["samples"], "<i2").tobytes()
    else:
        kind, payload = Kind.CODES, pack_codes(np.array(entry["codes"]))
    media = Media(kind, entry["seq"], entry["frame"], payload, entry["flags"])
    assert messages.encode(media).hex() == entry["hex"]
    assert messages.decode(bytes.fromhex(entry["hex"])) == media


@pytest.mark.parametrize("entry", by_name(RECORDED["bad"]))
def test_bad_messages_raise_a_named_error(entry):
    with pytest.raises(ProtocolError) as caught:
        messages.decode(data_of(entry))
    assert caught.value.name == "bad_message"


@given(
    st.text()
    | st.binary()
    | st.recursive(
        st.none() | st.floats() | st.text() | st.sampled_from(["hello", "end", "ready", "error"]),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["type", "role", "time"]), inner)
        ),
    ).map(json.dumps)
)
def test_garbage_raises_only_protocol_errors(data):
    with suppress(ProtocolError):
        messages.decode(data)
