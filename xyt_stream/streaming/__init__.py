"""The same weights in 80 ms steps, with cached state."""
