"""`python -m nnaccel`, the same as the command `nnaccel`."""

from nnaccel.cli import main

if __name__ == "__main__":
    main()
