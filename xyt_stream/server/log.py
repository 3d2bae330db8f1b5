"""Writes the server's log, by session and without any content: JSON, or text in a terminal."""

from __future__ import annotations

import collections
import json
import logging
import sys
import time
from typing import Any

from xyt_stream.errors import printable

_MOST_A_SECOND = 20  # lines of one event of connections without a session

_log = logging.getLogger("xyt_stream.server")


def event(name: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Logs an event by name, with fields."""
    _log.log(level, name, extra={"fields": fields})


class Ration(logging.Filter):
    """Passes each event of connections without a session a few times a second.

    Strangers could fill a disk with the others. The next one that passes tells how many were left
    out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._second: dict[str, int] = {}  # of the clock, by event
        self._passed: collections.Counter[str] = collections.Counter()  # in that second
        self._left_out: collections.Counter[str] = collections.Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        name, second = record.getMessage(), int(record.created)
        fields = getattr(record, "fields", None)
        if fields is None or fields.get("session") is not None:
            return True
        if self._second.get(name) != second:
            self._second[name], self._passed[name] = second, 0
        if self._passed[name] >= _MOST_A_SECOND:
            self._left_out[name] += 1
            return False
        self._passed[name] += 1
        if left_out := self._left_out.pop(name, 0):
            record.fields = {**fields, "left_out": left_out}
        return True


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON.

    Args:
        node: name of this server among those behind a proxy, whose logs may be mixed.
    """

    def __init__(self, node: str | None = None) -> None:
        super().__init__()
        self._at = {} if node is None else {"at": node}

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            **self._at,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line).replace("\x7f", r"\u007f")  # the only control that JSON leaves raw


class TextLines(logging.Formatter):
    """Formats a record for a person at a terminal; see JsonLines."""

    def __init__(self, node: str | None = None) -> None:
        super().__init__()
        self._at = "" if node is None else f"{node}  "

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = getattr(record, "fields", {})
        words = [record.getMessage(), *(f"{name}={value}" for name, value in fields.items())]
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        lines = [f"{when}  {self._at}{level}{'  '.join(words)}"]
        if record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        return "\n".join(map(printable, lines))


def to_stderr(level: str, node: str | None = None) -> None:
    """Sends the server's log to stderr, from a level on ("info", "warning", "error").

    Args:
        node: named in each line; None: the server is alone.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Ration())
    handler.setFormatter(TextLines(node) if sys.stderr.isatty() else JsonLines(node))
    _log.addHandler(handler)
    _log.setLevel(level.upper())
    _log.propagate = False
