"""What the library costs, measured beside its alternatives: ``python -m tests.benchmarks``."""
