"""The version of nnaccel, in a file that the build reads without importing the rest."""

VERSION = "0.1.0.dev0"
