"""A worker in whose readers faults were planted, by the number of the file: what a fuzzer that finds none is worth."""

import os
import sys
import time
from pathlib import Path

from nnaccel.errors import InputError
from tests.fuzz import worker
from tests.fuzz.formats import FORMATS, Format


def _read(path: Path, number: int) -> None:
    match number:
        case 1:
            raise KeyError("an exception of another kind")
        case 2:
            os.abort()
        case 3:
            time.sleep(600)
        case 4:
            bytearray(b"x") * (worker.MOST_MEMORY + (64 << 20))
        case 5:
            raise InputError("a sentence that doesn't name the file.")
        case 6:
            raise InputError(f"{path} has\ntwo lines.")
        case 7:
            raise InputError(f"{path} is refused.")


if __name__ == "__main__":
    FORMATS["planted"] = Format("culprit", lambda: [b"x"], lambda random, content: content, _read)
    worker.main("planted", int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
