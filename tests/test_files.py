"""Files: unpacked whatever packs them, refused with a sentence, and written whole or not at all."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import threading
import zipfile

import pytest

from nnaccel.errors import InputError
from nnaccel.files import check_writable, opened, reading, written_whole

CONTENT = b"a,b\n1,2\n" * 1000


def zipped(files, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


PACKED = {
    "plain": CONTENT,
    "gzip": gzip.compress(CONTENT),
    "several gzip members": gzip.compress(CONTENT[:100]) + gzip.compress(CONTENT[100:]),
    "bzip2": bz2.compress(CONTENT),
    "xz": lzma.compress(CONTENT),
    "zip": zipped({"folder/": b"", "folder/a.csv": CONTENT, "__MACOSX/folder/._a.csv": b"\0"}),
}


@pytest.mark.parametrize("kind", PACKED)
def test_first_bytes_tell_how_a_file_is_packed(tmp_path, kind):
    path = tmp_path / "misleading.parquet"
    path.write_bytes(PACKED[kind])
    with opened(path) as stream:
        assert stream.read(5) == CONTENT[:5]
        assert stream.read() == CONTENT[5:]


@pytest.mark.parametrize("kind", [kind for kind in PACKED if kind != "plain"])
def test_a_truncated_file_is_refused_with_its_name(tmp_path, kind):
    path = tmp_path / "cut.csv"
    path.write_bytes(PACKED[kind][:-9])
    with pytest.raises(InputError, match=r"cut.csv can't be read: .+\.$"), opened(path) as stream:
        stream.read()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x28\xb5\x2f\xfd" + bytes(20), "is compressed with zstandard, which isn't read: unpack it first"),
        (zipped({"a.csv": b"1", "b.csv": b"2"}), "holds 2 files: unpack it, and name the one to read"),
        (zipped({"xl/workbook.xml": b"", "xl/a.xml": b""}), "is an Excel workbook, which isn't read: save the sheet"),
        (zipped({"mimetype": b"", "content.xml": b""}), "is an OpenDocument spreadsheet, which isn't read: save the"),
        (zipped({"é.csv": CONTENT}).replace("é".encode(), b"\xff\xff"), "can't be read: "),
        (zipped({"a.csv": CONTENT}).replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"), "is encrypted"),
    ],
)  # fmt: skip
def test_archives_that_are_not_read(tmp_path, content, sentence):
    path = tmp_path / "odd.zip"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised, opened(path) as stream:
        stream.read()
    assert sentence in str(raised.value)
    assert str(path) in str(raised.value)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, sentence in (
        (tmp_path / "nowhere.csv", "there is no file"),
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "pipe", "is no regular file, and it has to be read more than once: save it as a file first"),
        (type(tmp_path)("/dev/null"), "is no regular file"),
    ):
        with pytest.raises(InputError, match=sentence), opened(path):
            pytest.fail("it was opened")


def test_an_error_without_words_still_makes_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"x can't be read: its end is missing\.$"), reading(tmp_path / "x"):
        raise EOFError
    with pytest.raises(InputError, match=r"x can't be read: Permission denied\.$"), reading(tmp_path / "x"):
        raise PermissionError(13, "Permission denied")


def test_only_what_reading_raises_is_turned_into_a_sentence(tmp_path):
    with pytest.raises(ZeroDivisionError), reading(tmp_path / "x"):
        raise ZeroDivisionError


class Interrupted(BaseException):
    pass


def write_half(path, error):
    with written_whole(path) as part:
        part.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, Interrupted, InputError])
def test_an_exception_leaves_nothing_behind_and_the_old_file_as_it_was(tmp_path, error):
    target = tmp_path / "old.txt"
    target.write_text("old")
    with pytest.raises(error):
        write_half(target, error)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"new.txt can't be written: No space left on device\.$"):
        write_half(tmp_path / "new.txt", OSError(28, "No space left on device"))
    assert not list(tmp_path.iterdir())


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link.txt", tmp_path / "there" / "target.txt"
    link.symlink_to(target)
    for text in ("new", "newer"):
        with written_whole(link) as part:
            part.write_text(text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert list((tmp_path / "there").iterdir()) == [target]


def test_permissions_stay(tmp_path):
    target = tmp_path / "private.txt"
    target.write_text("old")
    target.chmod(0o600)
    with written_whole(target) as part:
        part.write_text("new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["x" * 250, "表" * 85])
def test_long_names(tmp_path, name):
    with written_whole(tmp_path / name) as part:
        part.write_text("new")
    assert (tmp_path / name).read_text() == "new"


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for path, sentence in (
        (tmp_path / "missing" / "x.txt", "there is no folder .*missing"),
        (tmp_path, "it is no regular file"),
        (type(tmp_path)("/dev/null"), "it is no regular file"),
        (tmp_path / "circle", "can't be written"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        for attempt in (check_writable, lambda path: contextlib.ExitStack().enter_context(written_whole(path))):
            with pytest.raises(
                InputError, match=f"can't be written: .*{sentence}" if "can't" not in sentence else sentence
            ):
                attempt(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is write-protected for root")
def test_write_protected(tmp_path):
    target = tmp_path / "old.txt"
    target.write_text("old")
    target.chmod(0o400)
    with pytest.raises(InputError, match=r"old.txt can't be written: it is write-protected"):
        check_writable(target)
    with pytest.raises(InputError, match="Permission denied"), opened(target):
        target.chmod(0)
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"the folder .* is write-protected"):
        check_writable(tmp_path / "new.txt")
    tmp_path.chmod(0o700)


def test_two_writers_at_once(tmp_path):
    """Each writes a file of its own; the last to end wins, and what is there is whole at any time."""
    target, both = tmp_path / "shared.txt", threading.Barrier(2)

    def write(letter):
        with written_whole(target) as part:
            part.write_text(letter * 1000)
            both.wait()
            part.write_text(letter * 2000)
            both.wait()

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert target.read_text() in ("a" * 2000, "b" * 2000)
    assert list(tmp_path.iterdir()) == [target]
