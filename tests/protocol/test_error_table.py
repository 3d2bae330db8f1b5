import re
from pathlib import Path

import pytest

from xyt_stream.protocol.error_table import BY_CLOSE_CODE, ERRORS, protocol_error

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"


def test_the_document_has_the_same_table():
    rows = re.findall(r"^\| `(\w+)` \| (\d{4}) \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert rows == [(row.name, str(row.close_code), row.sentence) for row in ERRORS.values()]


def test_close_codes_are_private_and_unique():
    assert len(BY_CLOSE_CODE) == len(ERRORS)
    for row in ERRORS.values():
        # For these two the websocket standard has codes of its own.
        assert 4000 <= row.close_code < 5000 or row.name in ("going_away", "too_large")


def test_error_carries_its_row_and_the_detail():
    error = protocol_error("busy")
    assert (error.name, error.close_code, str(error)) == ("busy", 4503, ERRORS["busy"].sentence)
    assert str(protocol_error("busy", "All 3 slots are taken.")) == "All 3 slots are taken."
    with pytest.raises(KeyError):
        protocol_error("no_such_name")
