"""Runs several servers as one service on this machine: nodes, and HAProxy before them.

haproxy -> nodes -> launcher; each file builds on those before it.
"""
