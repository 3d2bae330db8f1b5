"""Speaks into a room, from a plain checkout: `python client/mic.py --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from xyt_stream.cli import main

if __name__ == "__main__":
    main(["mic", *sys.argv[1:]])
