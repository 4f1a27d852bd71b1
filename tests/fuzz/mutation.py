"""Ways to damage a file: each takes a source of random numbers and the content of a valid file, and gives another content."""

import hashlib
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.valid import npy, zipped

Mutate = Callable[[Random, bytes], bytes]

_EXTREMES = (
    0,
    1,
    2,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_TOKENS = (
    b"", b"\0", b"\xff" * 8, b'"', b"'", b"\n", b"\r", b"\r\n", b",", b";", b"\t", b"-", b"9" * 400, b"1e999", b"nan", b"inf",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\x1b[2J", b"../../x", b"__import__('os')", b"{", b"[",
    b"PK\x05\x06", b"PAR1", b"_" , b"1_0", b"0" * 20, b"x" * 140_000, b"," * 5_000, b"\n" * 5_000, b'"' * 5_001, b"\xe2\x80\xa8",
)  # fmt: skip
_WORDS = (
    "", " ", "\0", "\n", "\x1b[2J\r\n", "x" * 20_000, "é\u2028\ud83d\ude00", "\u202e", "../../etc/passwd", "nan", "-inf", "inf",
    "1" * 400, "%d %d", "%Q", "%s" * 50, "%", "%999999d", "iso", "number", "boolean", "float16", "object", "F32", "F64", "I64", "U8",
    "BF16", "relu", "adam", "mean_squared_error", "softmax_cross_entropy", "leaky_relu,slope=nan", "huber,delta=1e999",
    "leaky_relu,slope=inf", "__class__", "{0.__class__}", "classification", "multilabel", "regression", "\ud800",
)  # fmt: skip
_NUMBERS = (
    0, 1, -1, 2, 3, 255, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**18, 10**30, 10**400, -(10**400),
    0.0, -0.0, 0.5, 1e-320, 1e-300, 1e15, 1e300, -1e300, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
_DEEP = {
    "@deep list@": "[" * 60_000 + "]" * 60_000,
    "@deep object@": '{"a":' * 60_000 + "1" + "}" * 60_000,
    "@long number@": "9" * 6_000,
    "@wide@": "[" + "[]," * 20_000 + "[]]",
}


def damaged(random: Random, content: bytes) -> bytes:
    """Some pieces of any content changed, whatever they mean."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        content = random.choice(_EDITS)(random, content)
    return content


def _flip(random: Random, content: bytes) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(random.choice((1, 1, 2, 16))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _splice(random: Random, content: bytes) -> bytes:
    """A piece of it put at another place, over what is there or between."""
    begin, place = (random.randrange(len(content) + 1) for _ in range(2))
    piece = content[begin : begin + random.choice((1, 8, 100, 10_000))]
    return content[:place] + piece + content[place + random.choice((0, len(piece))) :]


def _remove(random: Random, content: bytes) -> bytes:
    place = random.randrange(len(content) + 1)
    return content[:place] + content[place + random.choice((1, 2, 8, 100)) :]


def _insert(random: Random, content: bytes) -> bytes:
    place = random.randrange(len(content) + 1)
    return content[:place] + random.choice(_TOKENS) + content[place:]


def _number(random: Random, content: bytes) -> bytes:
    """What may be a length, set to an extreme."""
    size, place = random.choice((1, 2, 4, 8)), random.randrange(len(content) + 1)
    value = random.choice(_EXTREMES) % 256**size
    return content[:place] + value.to_bytes(size, random.choice(("little", "big"))) + content[place + size :]


_EDITS: tuple[Mutate, ...] = (_flip, _flip, _cut, _splice, _remove, _insert, _number)


def damaged_end(random: Random, content: bytes) -> bytes:
    """As `damaged`, but half of the time only what stands at the end, where some formats have their directory."""
    if random.random() < 0.5 or len(content) < 10:
        return damaged(random, content)
    place = random.randrange(len(content) // 2, len(content) - 8)
    return content[:place] + damaged(random, content[place:-8]) + content[-8:]


# --- JSON ---


def json_file(random: Random, content: bytes) -> bytes:
    """JSON with another meaning, or with other bytes."""
    if random.random() < 0.25:
        return damaged(random, content)
    return odd_json(random, content.decode()).encode("utf-8", "surrogatepass")


def json_lines(random: Random, content: bytes) -> bytes:
    """Lines of JSON, of which one is another."""
    lines = content.splitlines(keepends=True)
    place = random.randrange(len(lines))
    lines[place] = json_file(random, lines[place].strip()) + random.choice((b"\n", b"\n", b"", b"\r\n\n"))
    return b"".join(lines)


def odd_json(random: Random, text: str) -> str:
    """JSON text with some entries replaced, removed, renamed or written twice."""
    tree = [json.loads(text)]
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        _change_tree(random, tree)
    text = json.dumps(tree[0], ensure_ascii=random.random() < 0.8)
    for word, meaning in _DEEP.items():
        text = text.replace(f'"{word}"', meaning)
    if random.random() < 0.1:
        key = random.choice(re.findall(r'"(\w+)": ', text) or ["a"])
        text = text.replace("{", f'{{"{key}": {random.choice(["null", "1", "[]", "{}"])}, ', 1)
    return text


def _change_tree(random: Random, tree: list[Any]) -> None:
    places = list(_places(tree))
    owner, key = random.choice(places)
    choice = random.random()
    if choice < 0.1:
        del owner[key]
    elif choice < 0.2 and isinstance(owner, dict):
        owner[random.choice([*_WORDS, *owner])] = owner.pop(key)
    elif choice < 0.3:
        other, name = random.choice(places)
        owner[key] = json.loads(json.dumps(other[name] if name in other or isinstance(other, list) else None))
    elif choice < 0.4 and isinstance(owner, list):
        owner.extend([owner[key]] * random.choice((1, 2, 2 if isinstance(owner[key], dict | list) else 300)))
    else:
        owner[key] = _odd_value(random)
    if not tree:
        tree.append(None)


def _places(tree: Any) -> Any:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _odd_value(random: Random) -> Any:
    kind = random.random()
    if kind < 0.5:
        return random.choice(_NUMBERS)
    if kind < 0.8:
        return random.choice(_WORDS)
    if kind < 0.88:
        return random.choice(list(_DEEP))
    return random.choice((None, True, False, [], {}, [[]], [None], {"a": 1}, [1, "a"], [2**40, 2**40]))


# --- safetensors ---


def safetensors_file(key: str) -> Mutate:
    """What damages a safetensors file whose metadata has JSON under a key: the head, that JSON, values, or any bytes."""

    def mutate(random: Random, content: bytes) -> bytes:
        if (choice := random.random()) < 0.25:
            return damaged(random, content)
        length = int.from_bytes(content[:8], "little")
        head, data = json.loads(content[8 : 8 + length]), content[8 + length :]
        if choice < 0.65:
            head["__metadata__"][key] = odd_json(random, head["__metadata__"][key])
        elif choice < 0.75:
            data = damaged(random, data)
        if random.random() < 0.7:
            _seal(head, data, key)
        text = odd_json(random, json.dumps(head)) if choice >= 0.75 else json.dumps(head)
        encoded = text.encode("utf-8", "surrogatepass")
        size = random.choice(_EXTREMES) if random.random() < 0.03 else len(encoded)
        return size.to_bytes(8, "little") + encoded + data

    return mutate


def _seal(head: dict[str, Any], data: bytes, key: str) -> None:
    """Give a checkpoint the digest of its content, as who wants it to be believed would."""
    if "digest" not in head["__metadata__"]:
        return
    digest = hashlib.blake2b(head["__metadata__"][key].encode("utf-8", "surrogatepass"), digest_size=16)
    for name in sorted(set(head) - {"__metadata__"}):
        digest.update(name.encode() + data[slice(*head[name]["data_offsets"])])
    head["__metadata__"]["digest"] = digest.hexdigest()


# --- tables ---

_SHAPES = (
    "()", "(8,)", "(-1, 3)", "(8, -3)", "(0, 3)", "(8, 0)", "(1, 24)", "(24, 1)", "(2, 2, 6)", "(1000000000000, 3)",
    "(4294967296, 4294967296)", "(18446744073709551616, 1)", "(True, 24)", "(8.0, 3)", "('8', 3)", "(8, 3, None)", "8", "[8, 3]",
    "(" + "1, " * 70 + ")", "(" * 90 + ")" * 90, "(8, 3) + (1,)", "(2**30, 3)", "(10**9999999, 1)",
)  # fmt: skip
_TYPES = (
    "'O'", "'<U3'", "'S8'", "'<U1000000000'", "'V8'", "'S0'", "'<f2'", "'<f16'", "'>c8'", "'<M8[ns]'", "'<M8[999999999s]'", "'T'", "'|b1'",
    "'<i8'", "'?'", "'f8,f8'", "'(2,2)f8'", "('<f4', (2,))", "[('a', '<f8')]", "[('a', 'O')]", "[('', '<f4', (2, 2))]", "None", "1", "''",
    "'<f8' * 1000", "b'<f8'", "{'names': ['a'], 'formats': ['<f8'], 'itemsize': 8}", "[('a', '<f4'), ('a', '<f4')]", "'<x8'",
)  # fmt: skip


def npy_file(random: Random, content: bytes) -> bytes:
    """An NPY file that says something else of its array."""
    if random.random() < 0.3:
        return damaged(random, content)
    shape, kind = random.choice([*_SHAPES, "(8, 3)"]), random.choice([*_TYPES, "'<f8'", "'<f4'"])
    order = random.choice(("True", "False", "False", "None", "1", "'C'"))
    entries = [f"'descr': {kind}", f"'fortran_order': {order}", f"'shape': {shape}", "'more': 1"]
    kept = random.sample(entries[:3], 3) if random.random() < 0.9 else random.sample(entries, random.randrange(5))
    header = "{" + ", ".join(kept) + ", }" + " " * random.choice((0, 0, 30, 20_000)) + "\n"
    version = random.choice(((1, 0), (1, 0), (2, 0), (3, 0), (0, 0), (255, 255)))
    size = len(header) if random.random() < 0.9 else random.choice(_EXTREMES)
    width = 2 if version == (1, 0) else 4
    data = content[128:] * random.choice((1, 1, 1, 0, 4))
    return b"\x93NUMPY" + bytes(version) + (size % 256**width).to_bytes(width, "little") + header.encode() + data


def idx_file(random: Random, content: bytes) -> bytes:
    """An IDX file that says something else of its array."""
    if random.random() < 0.4:
        return damaged(random, content)
    sizes = [
        random.choice((*_EXTREMES[:11], 3, 4, 6, 8, 24)) for _ in range(random.choice((1, 2, 2, 3, 5, 64, 65, 255)))
    ]
    kind = random.choice((0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E, 0x0A, 0))
    return bytes((0, 0, kind, len(sizes))) + b"".join(n.to_bytes(4, "big") for n in sizes) + content[12:]


_NAMES = (
    "X.npy",
    "y.npy",
    "/X.npy",
    "../../X.npy",
    "X.npy/",
    "x.csv",
    "C:\\X.npy",
    "X.npy\0",
    "a" * 60_000,
    "\n.npy",
    "é.npy",
    "xl/workbook.xml",
)


def npz_file(random: Random, content: bytes) -> bytes:
    """An archive with odd arrays or odd names, or one that is damaged."""
    if random.random() < 0.5:
        return damaged_end(random, content)
    import numpy as np

    matrix, words = npy(np.arange(24.0).reshape(8, 3)), npy(np.array(["a", "b"] * 4))
    files = {"X.npy": npy_file(random, matrix) if random.random() < 0.7 else matrix}
    if random.random() < 0.7:
        files["y.npy"] = npy_file(random, words) if random.random() < 0.5 else words
    if random.random() < 0.3:
        files[random.choice(_NAMES)] = random.choice((matrix, b"", zipped({"X.npy": matrix})))
    archive = zipped(files, random.choice((0, 8, 12, 14)))
    return damaged_end(random, archive) if random.random() < 0.2 else archive


def text_file(random: Random, content: bytes) -> bytes:
    """A text with other cells, lines or bytes."""
    if random.random() < 0.4:
        return damaged(random, content)
    text = content.decode("utf-16" if content.startswith(b"\xff\xfe") else "utf-8")
    for _ in range(random.choice((1, 1, 2, 4))):
        cells = re.split(r"([,;\t\n])", text)
        place = random.randrange(len(cells))
        choice = random.random()
        if choice < 0.5:
            cells[place] = random.choice(
                (*_WORDS, str(random.choice(_NUMBERS)), "2024-13-45", "31.02.2024", "1_0", "0007", "1e308")
            )
        elif choice < 0.7:
            cells.insert(place, random.choice((",", "\n", "\t", '"', ";", "\r", "\x0b", "\x85")))
        elif choice < 0.85:
            del cells[place : place + random.choice((1, 1, 7))]
        else:
            cells[place:place] = cells[place : place + 8] * random.choice((1, 30))
        text = "".join(cells)
    return text.encode(random.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-32", "latin-1", "cp1252")), "replace")


def packed(pack: Callable[[bytes], bytes], inner: Mutate) -> Mutate:
    """What damages a compressed file: what is in it before it is packed, the packed bytes, or how often it is packed."""

    def mutate(random: Random, content: bytes) -> bytes:
        choice = random.random()
        if choice < 0.4:
            return pack(inner(random, content))
        if choice < 0.5:
            return pack(pack(content)) + random.choice((b"", b"\0" * 8, pack(b"x"), b"junk"))
        return damaged_end(random, pack(content))

    return mutate
