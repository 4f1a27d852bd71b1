"""The fused kernels that the backends call; imports as `nnaccel.kernels` and knows nothing of the rest."""
