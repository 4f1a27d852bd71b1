"""Benchmarks: cases, peers and a stopwatch; imports as `nnaccel.bench`."""
