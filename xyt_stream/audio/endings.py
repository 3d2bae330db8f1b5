"""Finds out how long an MP3 file says that it is, and whether an Ogg file has its last page."""

from __future__ import annotations

import os
from typing import IO

_ID3 = 10  # bytes of the header of an ID3v2 tag
_SEARCHED = 4096  # bytes of an MP3 file in which its first frame lies
_LENGTH_KNOWN = 1  # flag of an MP3's Xing or Info tag: it says the number of frames
_PAGE = 27  # bytes of the header of an Ogg page
_LAST = 4  # flag of an Ogg page
_LONGEST_PAGE = _PAGE + 255 + 255 * 255  # bytes


def mp3_has_length(file: IO[bytes]) -> bool:
    """Whether an MP3's first frame holds its length: a Xing or Info tag with that flag."""
    file.seek(0)
    head = file.read(_ID3)
    start = 0
    if head[:3] == b"ID3" and len(head) == _ID3:
        size = 0
        for byte in head[6:]:  # seven bits in each
            size = size << 7 | byte & 0x7F
        start = _ID3 + size
    file.seek(start)
    begin = file.read(_SEARCHED)
    for name in (b"Xing", b"Info"):
        place = begin.find(name)
        if place >= 0 and begin[place + 7 : place + 8]:
            return bool(begin[place + 7] & _LENGTH_KNOWN)
    return False


def ogg_is_unfinished(file: IO[bytes]) -> bool:
    """Whether an Ogg file ends within a page, or after one that is not marked as the last."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 2 * _LONGEST_PAGE))
    tail = file.read()
    place = tail.rfind(b"OggS")
    page = tail[place:]
    if place < 0 or len(page) < _PAGE or not page[5] & _LAST:
        return True
    lengths = page[_PAGE : _PAGE + page[26]]
    return len(lengths) < page[26] or len(page) < _PAGE + len(lengths) + sum(lengths)
