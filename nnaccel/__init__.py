"""nnaccel."""
