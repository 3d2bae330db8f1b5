"""A causal model as two ONNX graphs, which run where there is no torch."""
