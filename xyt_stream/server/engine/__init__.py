"""Steps all streams together on the device, in one thread.

scheduler -> slots -> device -> engine -> slot_stream -> fanout; each file builds on those
before it.
"""
