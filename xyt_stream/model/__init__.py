"""The network, offline: one set of modules for the causal and the published models."""
