"""A fuzzer: valid files of every format, damaged in many ways, are read by the real readers in processes of their own.

A reader may give a clean result or raise `InputError` with one line that names the file. Any other exception, a warning, a
crash, a hang, or more memory than `worker.MOST_MEMORY` is a fault. A file follows from its format and its number, so that
whatever is found can be made again:

    python -m tests.fuzz --files 20000              every format
    python -m tests.fuzz model --first 4711 --files 1 --keep .

The first long form read 20,000 files of each of 16 formats in some 20 minutes; the slowest took a second, and the largest 19 MiB.
What it found is mended, each with a test in `test_hostile_files.py`.
"""
