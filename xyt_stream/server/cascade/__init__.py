"""Serves the speakers of one room from several nodes: their node gets the codes from the mic's.

wire -> link -> forwarder -> publisher; feeder -> voices -> subscription -> subscriber -> cascade;
each file builds on those before it.

    the speakers' node (subscriber)              the mic's or the user's node (publisher)
      | -- want NUMBER, room ----------------------> |  remembers it
      | <---------------------- has NUMBER, stream - |  as soon as a mic or a user is there
      | -- start NUMBER, stream, next frames ------> |
      | <------ frame NUMBER, index, codes, voice -- |  10 bytes each of the default model
      | <-------------- silent NUMBER, index, or     |  of a conversation's model
      |                         clear NUMBER ------- |
      | <-------- over NUMBER, voice, or moved ----- |

There is one connection from each node to each other one, for all rooms, opened once it is needed.
A conversation is one stream of two voices, its user and its model, which begin and move together.
A node publishes its own mics and conversations only, never one that it subscribes to: so each frame
is passed on between nodes once, and never in a circle.
"""
