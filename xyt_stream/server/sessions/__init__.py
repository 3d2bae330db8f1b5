"""Sessions of xyt.v1: roles, rooms, and the queues in both directions."""
