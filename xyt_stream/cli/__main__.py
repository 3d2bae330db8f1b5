"""Runs the command line as `python -m xyt_stream.cli`."""

from xyt_stream.cli import main

main()
