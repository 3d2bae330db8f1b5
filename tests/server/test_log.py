from __future__ import annotations

import json
import logging
import sys

from xyt_stream.server.log import JsonLines, Ration, TextLines


def test_each_line_is_one_json_object():
    record = logging.makeLogRecord(
        {"msg": "session closed", "levelname": "INFO", "created": 0.0, "msecs": 0.0}
    )
    record.fields = {"session": "0badcafe", "seconds": 1.5}
    line = JsonLines().format(record)
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "info",
        "event": "session closed",
        "session": "0badcafe",
        "seconds": 1.5,
    }


def test_a_node_names_itself_in_each_line():
    record = logging.makeLogRecord({"msg": "room published", "levelno": 20, "levelname": "INFO"})
    record.fields = {"node": "node-2"}
    line = json.loads(JsonLines("node-1").format(record))
    assert (line["at"], line["node"]) == ("node-1", "node-2")
    assert TextLines("node-1").format(record)[8:] == "  node-1  room published  node=node-2"


def test_a_traceback_stays_on_its_line():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    line = JsonLines().format(record)
    assert "\n" not in line
    assert "ValueError" in json.loads(line)["exception"]


def test_control_characters_of_a_client_or_a_file_do_not_reach_the_terminal():
    text = "\x1b[2J \x9b \x7f \u202e \n"
    record = logging.makeLogRecord({"msg": text, "levelno": 20, "fields": {"name": text}})
    line = JsonLines().format(record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["event"] == json.loads(line)["name"] == text
    assert TextLines().format(record).isprintable()


def test_a_terminal_gets_text():
    record = logging.makeLogRecord(
        {"msg": "refused", "levelname": "WARNING", "levelno": logging.WARNING, "created": 0.0}
    )
    record.fields = {"session": "0badcafe", "error": "busy"}
    assert TextLines().format(record)[8:] == "  warning: refused  session=0badcafe  error=busy"
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert TextLines().format(record).endswith("ValueError: two\nlines")


def test_events_of_strangers_are_rationed_and_those_of_sessions_are_not():
    def written(created, session):
        record = logging.makeLogRecord({"msg": "refused", "created": created})
        record.fields = {"session": session, "error": "busy"}
        return record.fields if ration.filter(record) else None

    ration = Ration()
    lines = [written(number / 1000, None) for number in range(1000)]
    kept = [line for line in lines if line is not None]
    assert 0 < len(kept) < 100
    assert all(written(0.9, "0badcafe") for _ in range(1000))
    assert written(1.0, None) == {**kept[0], "left_out": 1000 - len(kept)}
    assert written(1.1, None) == kept[0]
