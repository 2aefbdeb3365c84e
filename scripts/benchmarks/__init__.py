"""Benchmarks: each file has `run() -> rows` of name, value, unit, reference and ratio."""
