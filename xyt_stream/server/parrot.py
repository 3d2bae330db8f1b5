"""Keeps the duplex model `Parrot` at the path that older command lines name."""

from xyt_stream.server.duplex.parrot import Parrot as Parrot
