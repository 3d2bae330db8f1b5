"""Lets the site's pages link to files of the repository that are no pages."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"(?<=\]\()((?:\.\./)+|deploy/)([\w./-]+)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Replaces links that lead out of docs/ by links to the repository."""
    depth = page.file.src_uri.count("/")

    def replaced(match: re.Match[str]) -> str:
        up, path = match.groups()
        if up == "deploy/":
            return f"{config.extra['repository']}/blob/main/docs/deploy/{path}"
        if up.count("..") <= depth:
            return match[0]
        return f"{config.extra['repository']}/blob/main/{path}"

    return _OUTSIDE.sub(replaced, markdown)
