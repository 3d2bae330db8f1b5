"""Runs `xyt-stream loopback` from a checkout that is not installed; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from xyt_stream.cli import main

if __name__ == "__main__":
    main(["loopback", *sys.argv[1:]])
