"""Runs `xyt-stream serve` from a checkout that is not installed; see --help."""

import sys

from xyt_stream.cli import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
