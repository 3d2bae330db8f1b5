"""Runs the network in 80 ms steps, with cached state."""
