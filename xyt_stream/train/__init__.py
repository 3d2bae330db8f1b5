"""Trains causal models, from scratch or from another model (extra "train")."""
