"""Benchmarks: the engine, the raw limit of the disk, and other engines, side by side in one run."""
