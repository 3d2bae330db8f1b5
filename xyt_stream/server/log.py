"""Writes the server's log, by session and without any content: JSON, or text in a terminal."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from xyt_stream.errors import printable

_log = logging.getLogger("xyt_stream.server")


def event(name: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Logs an event by name, with fields."""
    _log.log(level, name, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line).replace("\x7f", r"\u007f")  # the only control that JSON leaves raw


class TextLines(logging.Formatter):
    """Formats a record for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = getattr(record, "fields", {})
        words = [record.getMessage(), *(f"{name}={value}" for name, value in fields.items())]
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        lines = [f"{when}  {level}{'  '.join(words)}"]
        if record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        return "\n".join(map(printable, lines))


def to_stderr(level: str) -> None:
    """Sends the server's log to stderr, from a level on ("info", "warning", "error")."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines() if sys.stderr.isatty() else JsonLines())
    _log.addHandler(handler)
    _log.setLevel(level.upper())
    _log.propagate = False
