"""The long form: `python -m tests.fuzz [FORMAT ...] [--first N] [--files N] [--keep FOLDER]`."""

import argparse
import time
from pathlib import Path

from tests.fuzz.formats import FORMATS
from tests.fuzz.pool import fuzz


def main() -> None:
    """Read damaged files, and say what came of them; faults are shown, and their files kept if asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(FORMATS)}; all by default")
    parser.add_argument("--first", type=int, default=0, help="the number of the first file")
    parser.add_argument("--files", type=int, default=20_000, help="of each format")
    parser.add_argument("--keep", type=Path, help="a folder for the files that are faults")
    wanted = parser.parse_args()
    for name in wanted.formats or FORMATS:
        began = time.perf_counter()
        findings = fuzz(name, wanted.first, wanted.files)
        print(f"{name:<11}{findings}; {time.perf_counter() - began:.0f} s", flush=True)
        for fault in findings.faults:
            print(f"  {fault['number']}: {fault['detail']}", flush=True)
            if wanted.keep is not None:
                content = FORMATS[name].content(name, fault["number"])
                (wanted.keep / f"{name}-{fault['number']}-{FORMATS[name].file}").write_bytes(content)


if __name__ == "__main__":
    main()
