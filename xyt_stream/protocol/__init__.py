"""Encodes and decodes the wire and code files; imports no torch, and no sockets except in closing.

packing -> error_table -> messages -> machine build on each other and are the wire, xyt.v1, which
docs/protocol.md describes in prose. code_file is the .xyt file. realtime/ is the OpenAI protocol.
"""
