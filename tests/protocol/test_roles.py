import re
from pathlib import Path

from xyt_stream.protocol.roles import ROLES

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"


def test_the_document_has_the_same_table():
    rows = re.findall(
        r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| (yes|no|may) \|$", DOCUMENT.read_text(), re.M
    )
    assert rows == [
        (
            role.name,
            ", ".join(role.may_send) or "nothing",
            ", ".join(role.may_receive) or "nothing",
            role.in_room,
        )
        for role in ROLES.values()
    ]


def test_default_is_the_first_kind():
    assert ROLES["loopback"].default_receive == ("pcm",)
    assert ROLES["mic"].default_receive == ()
    assert ROLES["mic"].default_send == "pcm"
    assert ROLES["speaker"].default_send is None
