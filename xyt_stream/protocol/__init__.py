"""The wire and the file: codes and sound as bytes. No torch, and no sockets but in `closing`.

packing -> error_table -> messages -> machine is the wire (docs/protocol.md tells it in prose);
code_file is the .xyt file.
"""
