"""Holds the sessions of xyt.v1: their queues in both directions, their roles and their rooms.

send_queue -> rooms -> framing -> receive_queue, resources -> roles, turnaround -> pipeline ->
session; each file builds on those before it.
"""
