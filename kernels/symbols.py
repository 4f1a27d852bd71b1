"""The symbols that an object file expects others to define, read from its symbol table."""

import struct
from collections.abc import Iterator


def undefined_symbols(code: bytes) -> set[str]:
    """The names that the machine code in an object file needs and doesn't define.

    Parameters
    ----------
    code : bytes
        An object file for 64 bits in the format ELF, or in Apple's Mach-O.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if code[:5] == b"\x7fELF\x02":
        return set(_elf(code))
    if code[:4] == b"\xcf\xfa\xed\xfe":
        return set(_mach_o(code))
    raise ValueError(f"an object file of unknown format, which begins with {code[:8]!r}")


def _elf(code: bytes) -> Iterator[str]:
    order = "<" if code[5] == 1 else ">"
    (table,) = struct.unpack_from(order + "Q", code, 40)
    size, count = struct.unpack_from(order + "HH", code, 58)

    def section(number: int) -> tuple[int, ...]:
        return struct.unpack_from(order + "IIQQQQIIQQ", code, table + number * size)

    for _, kind, _, _, start, length, names, _, _, step in map(section, range(count)):
        if kind != 2:  # SHT_SYMTAB
            continue
        text = section(names)[4]
        for place in range(start, start + length, step):
            name, _, _, home = struct.unpack_from(order + "IBBH", code, place)
            if name and home == 0:  # SHN_UNDEF
                yield _text(code, text + name)


def _mach_o(code: bytes) -> Iterator[str]:
    (commands,) = struct.unpack_from("<I", code, 16)
    place = 32
    for _ in range(commands):
        command, size, symbols, count, text, _ = struct.unpack_from("<6I", code, place)
        place += size
        if command != 2:  # LC_SYMTAB
            continue
        for symbol in range(symbols, symbols + 16 * count, 16):
            name, kind = struct.unpack_from("<IB", code, symbol)
            if kind & 0x0F == 1:  # N_UNDF, N_EXT
                yield _text(code, text + name).removeprefix("_")


def _text(code: bytes, start: int) -> str:
    return code[start : code.index(b"\0", start)].decode()
