"""The server: one thread steps all sessions on the device, the event loop does the rest.

engine -> voice -> outlet, intake -> rooms -> session -> app
"""
