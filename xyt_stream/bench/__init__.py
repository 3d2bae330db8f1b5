"""Measures latency, throughput, memory and load, beside baselines on the same machine."""
