"""Implements the OpenAI Realtime protocol without sockets: events in, events out."""
