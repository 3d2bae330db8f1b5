"""Serves the codec to many clients: one thread steps all streams, the event loop does the rest.

A message's way: connection -> session -> framer -> slot stream -> engine, and back through slot
stream -> fan-out -> send queue -> connection. The folders, each using only those before it:

    admission, engine -> duplex, metrics -> sessions -> realtime, service
    -> handover -> cascade -> connection, pages -> acceptor -> app
"""
