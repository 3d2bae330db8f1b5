"""Implements the network: one set of modules serves the causal and the published models."""
