"""Files from strangers: whatever is in them, they are read or refused in one line, soon, and in little memory."""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from nnaccel import records
from nnaccel.bench.reading import MOST_BYTES, read_result
from nnaccel.checkpoint import newest
from nnaccel.errors import InputError
from nnaccel.files import MOST_UNPACKED, first_sentence
from nnaccel.model import load
from nnaccel.preparation import Question, Roles, prepare
from nnaccel.profile import read_profile
from nnaccel.sources.arrays import ArraySource
from nnaccel.sources.opening import open_source
from tests.fuzz import valid, worker
from tests.fuzz.formats import FORMATS
from tests.fuzz.pool import MOST_SECONDS, ROOT, fuzz

FILES = 200
"""Of each format; the long form reads a hundred times as many."""


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_or_refused(name) -> None:
    findings = fuzz(name, 10**6, FILES)
    assert findings.files == FILES
    assert not findings.faults


def test_the_fuzzer_finds_what_was_planted() -> None:
    findings = fuzz("planted", 1, 7, "tests.fuzz.planted", seconds=5.0)
    details = {fault["number"]: fault["detail"] for fault in findings.faults}
    assert sorted(details) == [1, 2, 3, 4, 5, 6]
    assert "KeyError" in details[1]
    assert "ends the process: -6" in details[2]
    assert details[3] == "it hangs"
    assert "MiB of memory" in details[4]
    assert findings.kinds["refused"] == 1


def test_a_number_always_gives_the_same_file() -> None:
    for name, form in FORMATS.items():
        assert form.content(name, 5) == form.content(name, 5)
    assert FORMATS["model"].content("model", 5) != FORMATS["model"].content("model", 7)


def read_apart(name: str, path: Path) -> dict:
    """What comes of a file in a process of its own, which may take so much time and memory and no more."""
    code = f"from tests.fuzz.worker import read_one; read_one({name!r}, {str(path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=3 * MOST_SECONDS, cwd=ROOT, check=True
    )
    return json.loads(done.stdout)


def refused(name: str, path: Path) -> str:
    found = read_apart(name, path)
    assert found["kind"] == "refused", found
    return found["detail"]


# --- what a few bytes unpack to ---

ZEROS = b"a\n" + (b"0" * 10_000 + b"\n") * (MOST_UNPACKED // 8_000)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lambda content: lzma.compress(content, preset=0)])
def test_a_bomb_of_text_is_refused(tmp_path, pack) -> None:
    path = tmp_path / "bomb.csv"
    path.write_bytes(pack(ZEROS))
    assert "bomb.csv unpacks to more than 200 times its size: unpack it yourself" in refused("text", path)


def test_a_bomb_in_an_archive_is_refused(tmp_path) -> None:
    (tmp_path / "bomb.zip").write_bytes(valid.zipped({"x.csv": ZEROS}))
    assert "bomb.zip unpacks to more than 200 times its size" in refused("text", tmp_path / "bomb.zip")


@pytest.mark.parametrize("packing", ["gzip", "npz"])
def test_a_bomb_of_an_array_is_refused(tmp_path, packing) -> None:
    array = valid.npy(np.zeros((8, 3))) + ZEROS
    path = tmp_path / "bomb.npy"
    path.write_bytes(gzip.compress(array) if packing == "gzip" else valid.zipped({"X.npy": array}))
    assert "bomb.npy unpacks to more than 200 times its size" in refused("npy", path)


@pytest.mark.parametrize("name", ["model", "profile", "result"])
def test_a_bomb_is_nothing_else_either(tmp_path, name) -> None:
    (tmp_path / "bomb.json").write_bytes(gzip.compress(ZEROS))
    assert "bomb.json" in refused(name, tmp_path / "bomb.json")


def test_what_is_packed_well_is_read(tmp_path) -> None:
    content = b"a,b\n" + b"0,1\n" * 1_000_000
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(content))
    assert (tmp_path / "x.csv.gz").stat().st_size < len(content) / 200
    assert len(open_source(str(tmp_path / "x.csv.gz")).read({"a": 0})) == 1_000_000


def parquet(path: Path, table: pa.Table) -> Path:
    pyarrow.parquet.write_table(table, path, row_group_size=len(table), compression="zstd")
    return path


def test_equal_values_that_take_nothing_in_parquet_are_refused(tmp_path) -> None:
    path = parquet(tmp_path / "bomb.parquet", pa.table({"a": np.zeros(40_000_000, bool)}))
    assert "bomb.parquet unpacks to 320,000,000 bytes, more than 1000 times its size" in refused("parquet", path)


def test_a_long_word_in_parquet_is_kept_once(tmp_path) -> None:
    codes = pa.array(np.arange(20_000, dtype=np.int32) % 2)
    table = pa.table(
        {"a": pa.DictionaryArray.from_arrays(codes, ["x" * 100_000, "y" * 100_000]), "b": np.arange(20_000)}
    )
    path = parquet(tmp_path / "words.parquet", table)
    assert path.stat().st_size < 200_000
    found = read_apart("parquet", path)
    assert (found["kind"], found["memory"] < 100 << 20) == ("read", True)


def test_words_of_parquet_come_in_the_order_of_their_rows(tmp_path) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([2, 0, None, 2, 3, 1]), ["a", "b", " c", "?"])
    path = parquet(tmp_path / "words.parquet", pa.table({"w": words}))
    table = open_source(str(path)).read({"w": 0})
    assert table.text("w").words == ("c", "a", "b")
    assert table.text("w").codes.tolist() == [0, 1, -1, 0, -1, 2]
    assert open_source(str(path)).read({"w": 0}, rows=range(3, 6)).text("w").words == ("c", "b")


def test_commas_are_no_columns(tmp_path) -> None:
    (tmp_path / "wide.csv").write_bytes(b"," * 2_000_000 + b"\n" + b"," * 2_000_000)
    assert "wide.csv has 2,000,001 columns, but no more than 262,144" in refused("text", tmp_path / "wide.csv")


def test_a_result_is_not_longer_than_results_are(tmp_path) -> None:
    (tmp_path / "r.json").write_text("[" + "[]," * (MOST_BYTES // 3) + "[]]")
    assert "r.json is too large" in refused("result", tmp_path / "r.json")


# --- arrays ---


@pytest.mark.parametrize("shape", ["(True, 24)", "(24, False)"])
def test_a_truth_value_is_no_dimension(tmp_path, shape) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    content = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(24 * 8)
    for name, packed in ("x.npy", content), ("x.npy.gz", gzip.compress(content)):
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(InputError, match=f"{name} is damaged: it holds an array of the shape"):
            open_source(str(tmp_path / name))


@pytest.mark.parametrize("kind", ["('<f4', (2,))", "'(2,2)f8'"])
def test_values_of_arrays_are_no_arrays_themselves(tmp_path, kind) -> None:
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': (8, 3)}}\n".encode()
    content = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(8 * 3 * 32)
    (tmp_path / "x.npy.gz").write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=r"x.npy.gz is damaged: its values are said to be arrays themselves"):
        open_source(str(tmp_path / "x.npy.gz"))


@pytest.mark.parametrize("order", "<>")
def test_text_that_is_no_unicode_is_refused(tmp_path, order) -> None:
    words = np.full((8, 1), 0x110000, f"{order}u4").view(f"{order}U1")
    (tmp_path / "x.npz").write_bytes(valid.zipped({"X.npy": valid.npy(np.zeros((8, 3))), "y.npy": valid.npy(words)}))
    with pytest.raises(InputError, match=r"x.npz is damaged: y holds text that isn't Unicode"):
        open_source(str(tmp_path / "x.npz"))


def test_a_signalling_nan_is_a_gap_without_a_warning() -> None:
    bits = np.zeros((8, 2), np.uint32)
    bits[3], bits[:4, 1] = 0x7FA00000, 0x3F800000
    source = ArraySource("x", bits.view(np.float32), np.arange(8.0) % 2)
    prepare(source, Question(Roles("target")))
    prepare(ArraySource("x", bits.view(np.float32)), Question(Roles("1")))


def test_what_numpy_says_of_a_header_is_cut(tmp_path) -> None:
    header = b"\n" * 2_570
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path / "x.npy"))
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_numbers_of_any_precision_are_text_without_a_warning(dtype) -> None:
    values = np.array([[np.finfo(dtype).max], [0.5], [3.0]], dtype)
    assert ArraySource("x", values).read({"a": 0}).text("a").words[:2] == ("0.5", "3")


# --- models ---


def changed_model(path: Path, change) -> Path:
    """A model file with another description."""
    content = valid.models()[0]
    length = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + length])
    description = json.loads(head["__metadata__"]["nnaccel"])
    change(head, description)
    head["__metadata__"]["nnaccel"] = json.dumps(description)
    text = json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    return path


@pytest.mark.parametrize("form", ["%d %d", "%Y %d %d"])
def test_a_format_of_dates_that_makes_no_pattern(tmp_path, form) -> None:
    path = changed_model(tmp_path / "m", lambda head, text: text["encoding"]["formats"].update(joined=form))
    with pytest.raises(InputError, match=f"m is damaged: '{form}' is no format of dates"):
        load(path)


def test_words_of_a_file_make_no_second_line(tmp_path) -> None:
    path = changed_model(tmp_path / "m", lambda head, text: head["layers.0.bias"].update(dtype="\rF\u2028\x85\n"))
    with pytest.raises(InputError) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 1
    assert first_sentence(ValueError(" a\rb. c")) == "a"
    assert first_sentence(ValueError("")) == ""


def test_as_many_layers_as_a_file_holds_are_read_soon(tmp_path) -> None:
    count = 10_000
    layer = valid.Network(1, [valid.Dense(1, bias=False)]).describe()["layers"][0]
    description = {
        "format": 1, "version": "0", "network": {"input_shape": [1], "layers": [layer] * count}, "loss": "mean_squared_error",
        "dtype": "float32", "encoding": None, "report": None,
    }  # fmt: skip
    tensors = {
        f"layers.{k}.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [4 * k, 4 * k + 4]}
        for k in range(count)
    }
    head = json.dumps({"__metadata__": {"nnaccel": json.dumps(description)}} | tensors).encode()
    (tmp_path / "deep").write_bytes(len(head).to_bytes(8, "little") + head + bytes(4 * count))
    found = read_apart("model", tmp_path / "deep")
    assert (found["kind"], found["seconds"] < MOST_SECONDS) == ("read", True)


# --- what is no file, and names ---

READERS = {
    "model": load,
    "profile": read_profile,
    "result": read_result,
    "table": lambda path: open_source(str(path)),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", READERS)
def test_pipes_devices_circles_and_folders_are_refused_at_once(tmp_path, name) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "folder").mkdir()
    for path in tmp_path.iterdir():
        with pytest.raises(InputError) as caught:
            READERS[name](path)
        assert path.name in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_pipes_in_the_places_of_our_own_files_hold_nothing_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NNACCEL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("NNACCEL_RECORDS", "on")
    for name in ("records.jsonl", "estimates.json", "checkpoint-000001.safetensors"):
        os.mkfifo(tmp_path / name)
    assert records.accuracy().count == 0
    records._append(records.Record("now", "cpu", "trial", 1.0, 1.0, 0.5, 2.0, 1, 1, 1, 1))
    assert records._estimates(tmp_path / "estimates.json") == {}
    assert newest(tmp_path) is None


def test_records_take_no_more_memory_than_they_should(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NNACCEL_CACHE_DIR", str(tmp_path))
    (tmp_path / "records.jsonl").write_bytes(b" " * (64 << 20) + b"\n" + valid.records()[0])
    assert records.accuracy().count == 2
    assert len(records._content(tmp_path / "records.jsonl", 100)) == 100


@pytest.mark.parametrize("name", ["../../outside.csv", "/outside.csv", "..\\outside.csv"])
def test_nothing_of_an_archive_is_written_anywhere(tmp_path, name) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, "x,y\n1,2\n")
    (folder / "x.zip").write_bytes(out.getvalue())
    assert open_source(str(folder / "x.zip")).columns == ("x", "y")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "x.zip"]


# --- through the command line ---

COMMANDS = {
    "info": ("model", "info FILE"),
    "predict with a model": ("model", "predict FILE DATA"),
    "predict": ("npz", "predict MODEL FILE"),
    "train": ("parquet", "train FILE --target 0 --backend cpu --epochs 1"),
    "train from a model": ("model", "train DATA --target rich --init FILE --backend cpu --epochs 1"),
    "estimate": ("profile", "estimate --rows 1000 --features 8 --classes 2 --backend cpu --machine FILE"),
    "compare": ("result", "bench --compare FILE FILE"),
    "resume": ("checkpoint", "train DATA --target rich --backend cpu --epochs 1 --resume FOLDER"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_refuse_in_one_line(tmp_path, name) -> None:
    kind, line = COMMANDS[name]
    (tmp_path / "kept").mkdir()
    path = tmp_path / ("kept/checkpoint-000001.safetensors" if kind == "checkpoint" else "culprit")
    content = FORMATS[kind].valid()[0]
    path.write_bytes(content[: len(content) // 2])
    (tmp_path / "data.csv").write_bytes(valid.texts()[0])
    (tmp_path / "model").write_bytes(valid.models()[1])
    places = {"FILE": path, "DATA": tmp_path / "data.csv", "MODEL": tmp_path / "model", "FOLDER": tmp_path / "kept"}
    command = [sys.executable, "-m", "nnaccel", *(str(places.get(word, word)) for word in line.split())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert path.name in done.stderr.splitlines()[-1]
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_memory_is_measured() -> None:
    worker.forget_peak()
    before = worker.memory("VmHWM")
    if not before:
        pytest.skip("this system doesn't tell")
    assert len(bytearray(b"x") * (64 << 20)) == 64 << 20
    assert worker.memory("VmHWM") - before > 32 << 20
