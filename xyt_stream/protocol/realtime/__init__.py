"""The OpenAI Realtime protocol, as far as docs/realtime.md says: events and sound, no sockets."""
