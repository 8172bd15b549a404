"""Runs librnn and its peers on the same work, one after the other, and compares. Entry: benchmarks/run.py."""
