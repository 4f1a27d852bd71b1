"""Fused kernels and graphs on NVIDIA GPUs: what runs a plan there, from the source of the kernels to the program.

Nothing here imports CuPy: a device is handed in, and tests hand in one that is none.
"""
