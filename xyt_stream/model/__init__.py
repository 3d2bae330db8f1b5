"""The network: one set of modules for the causal and the published models."""
