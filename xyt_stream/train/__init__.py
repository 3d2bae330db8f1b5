"""Training a causal model from nothing: extra "train"."""
