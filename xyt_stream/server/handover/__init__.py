"""Moves live sessions from one server to another, with identical codes.

message, peers -> channel -> units -> giver, taker -> drain; each file builds on those before it.

    the client          the node that it comes to (taker)         the node that it left (giver)
      | -- hello, resume ----> | -- take KEY -------------------------> |  detaches, freezes
      |                        | <------------------------------- unit -|
      |                        |  restores, asleep                      |
      |                        | -- commit ---------------------------> |  gives up, for good
      |                        | <------------------------------- done -|
      | <--------------- ready |  wakes                                 |

Until `commit` the giver is the owner, and goes on if nothing comes. From then on it is not, and the
taker is once it has read `done`. If that is lost, neither is: never are both.
"""
