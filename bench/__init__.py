"""Benchmarks: correctness first, then timing against peers (installed as ``deal.bench``)."""
