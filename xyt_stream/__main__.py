"""Runs the command line as `python -m xyt_stream`."""

from xyt_stream.cli import main

main()
