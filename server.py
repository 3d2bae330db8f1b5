"""Serves the codec from a plain checkout: `python server.py --help`."""

import sys

from xyt_stream.cli import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
