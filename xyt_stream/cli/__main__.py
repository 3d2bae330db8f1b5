"""`python -m xyt_stream.cli`, which is `xyt-stream`."""

from xyt_stream.cli import main

main()
