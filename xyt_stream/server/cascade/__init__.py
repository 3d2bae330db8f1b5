"""Serves the speakers of one room from several nodes: their node gets the codes from the mic's.

wire -> link -> forwarder -> publisher; subscription -> subscriber -> cascade; each file builds on
those before it.

    the speakers' node (subscriber)              the mic's node (publisher)
      | -- want NUMBER, room ----------------------> |  remembers it
      | <---------------------- has NUMBER, stream - |  as soon as a mic is there
      | -- start NUMBER, stream, next frame -------> |
      | <------------- frame NUMBER, index, codes -- |  10 bytes each of the default model
      | <--------------- over NUMBER, or moved ----- |

There is one connection from each node to each other one, for all rooms, opened once it is needed.
A node publishes streams of its own mics only, never one that it subscribes to: so each frame is
passed on between nodes once, and never in a circle.
"""
