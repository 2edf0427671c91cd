"""Measures what Felix promises, and writes down what was measured: ``python -m benchmarks [NAME…] [--write]``."""
