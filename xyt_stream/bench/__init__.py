"""How fast: time per step, memory, and peers on the same machine."""
