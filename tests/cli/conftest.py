from __future__ import annotations

import pytest

from xyt_stream.cli import main

from .outcome import Result, Run


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process; see test_main.py for one of its own."""

    def run(*args: object) -> Result:
        with pytest.raises(SystemExit) as caught:
            main([str(arg) for arg in args])
        return Result(caught.value.code, *capsys.readouterr())

    return run
