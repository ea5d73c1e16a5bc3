"""Writes that are whole or absent, reads that trust nothing, folders that count only when they are sealed."""

import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from unspoken import files
from unspoken.errors import CheckpointError, DataError

# ---- atomic writes


@contextmanager
def full_disk():
    """Every file of this process may hold 100 bytes: longer writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def failing(error):
    def call(*args, **kwargs):
        raise error

    return call


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def fault(kind, monkeypatch):
    with monkeypatch.context() as patch:
        if kind == "write":
            with full_disk():
                yield
            return
        error = OSError(28, "No space left on device")
        target = {"open": (Path, "open"), "fsync": (os, "fsync"), "replace": (os, "replace")}[kind]
        patch.setattr(*target, failing(error))
        yield


WRITERS = {
    "text": lambda path: files.write_text(path, "new " * 100),
    "json": lambda path: files.write_json(path, {"new": list(range(100))}),
    "json lines": lambda path: files.write_json_lines(path, [{"new": "x" * 50}] * 20),
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("kind", ["open", "write", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_temporary_one(kind, writer, tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_text(path, "old\n")
    with fault(kind, monkeypatch), pytest.raises(OSError, match=r"No space left|File too large"):
        writer(path)
    assert path.read_text() == "old\n"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("kind", ["open", "write", "fsync", "replace"])
def test_a_first_write_that_fails_leaves_nothing(kind, tmp_path, monkeypatch):
    with fault(kind, monkeypatch), pytest.raises(OSError, match=r"No space left|File too large"):
        files.write_text(tmp_path / "file", "new " * 100)
    assert names(tmp_path) == []


def test_an_interrupted_write_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_text(path, "old\n")
    monkeypatch.setattr(os, "fsync", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        files.write_text(path, "new\n")
    assert path.read_text() == "old\n"
    assert names(tmp_path) == ["file"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    files.write_json(path, {"old": 1})
    for value in ({"x": math.nan}, {"x": [1.0, math.inf]}, {"x": object()}):
        with pytest.raises((ValueError, TypeError)):
            files.write_json(path, value)
        with pytest.raises((ValueError, TypeError)):
            files.write_json_lines(path, [{"fine": 1}, value])
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "lone \ud800 surrogate")
    assert files.read_json(path) == {"old": 1}
    assert names(tmp_path) == ["file"]


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_its_folder_after(tmp_path, monkeypatch):
    """A crash of the machine, not only of the process: what is not flushed may be lost or come in another order."""
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("replace"), replace(old, new))[1])
    files.write_text(tmp_path / "file", "text")
    assert len(calls) == 3
    assert calls[0].endswith(".tmp")
    assert calls[1:] == ["replace", str(tmp_path)]


def test_a_write_makes_the_folders_it_needs(tmp_path):
    files.write_text(tmp_path / "a" / "b" / "file", "text")
    assert (tmp_path / "a" / "b" / "file").read_text() == "text"


def test_text_comes_back_byte_by_byte(tmp_path):
    text = "line\r\nline\n\ttab \u00fc \u2028 \U0001f600 end"
    files.write_text(tmp_path / "file", text)
    assert (tmp_path / "file").read_bytes() == text.encode()
    assert files.read_text(tmp_path / "file") == text


# ---- untrusted reads


def written(tmp_path, data):
    path = tmp_path / "file.json"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


REFUSED = {
    "gzip": (b"\x1f\x8b\x08\x00rest", "gzip archive"),
    "zip": (b"PK\x03\x04rest", "zip archive"),
    "latin-1": (b'{"a": "caf\xe9"}', "not UTF-8 text.*byte 10"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "empty": (b"", "line 1, column 1"),
    "cut off": (b'{"a": [1, 2', "may be cut off"),
    "two values": (b"{} {}", "line 1, column 4"),
    "on the third line": (b'{\n "a": 1,\n "b" 2}', "line 3, column 6"),
    "single quotes": (b"{'a': 1}", "not valid JSON"),
    "trailing comma": (b'{"a": 1,}', "not valid JSON"),
    "comment": (b'{"a": 1} // one', "not valid JSON"),
    "control character": (b'{"a": "\x00"}', "not valid JSON"),
    "NaN": (b'{"a": NaN}', "NaN, which is not JSON"),
    "Infinity": (b'{"a": [Infinity]}', "Infinity, which is not JSON"),
    "minus Infinity": (b'{"a": -Infinity}', "-Infinity, which is not JSON"),
    "too large for a float": (b'{"a": 1e999}', "1e999, which is too large"),
    "too many digits": (b'{"a": ' + b"9" * 5000 + b"}", "5,000 digits"),
    "the same key twice": (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' twice"),
    "the same key twice inside": (b'[{"x": {"k": 1, "k": 1}}]', "the key 'k' twice"),
    "the same key in two spellings": (rb'{"a": 1, "\u0061": 2}', "the key 'a' twice"),
    "nested lists": (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    "nested objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_json_is_refused_with_the_file_and_the_reason(data, reason, tmp_path):
    path = written(tmp_path, data)
    with pytest.raises(DataError, match=reason) as error:
        files.read_json(path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 500


def test_json_of_every_kind_is_read(tmp_path):
    value = {
        "text": 'quote " \u2028 \U0001f600',
        "n": [0, -1, 1.5, -2.5e-3, 10**300],
        "none": None,
        "yes": True,
        "": {},
    }
    assert files.read_json(written(tmp_path, json.dumps(value))) == value
    assert files.read_json(written(tmp_path, '{"a": "\\ud83d\\ude00"}')) == {"a": "\U0001f600"}


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = written(tmp_path, b"\xef\xbb\xbf" + b'{"a": 1}')
    assert files.read_text(path) == '{"a": 1}'
    assert files.read_json(path) == {"a": 1}
    assert files.read_json_lines(path) == [{"a": 1}]


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path):
    path = written(tmp_path, b"x" * 101)
    assert files.read_text(written(tmp_path, b"x" * 100), limit=100) == "x" * 100
    with pytest.raises(DataError, match="101 bytes, more than the 100 allowed"):
        files.read_text(written(tmp_path, b"x" * 101), limit=100)
    # a file of a terabyte that holds nothing
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match="1,099,511,627,776 bytes"):
        files.read_text(path)


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        files.read_text(tmp_path / "missing")
    with pytest.raises(DataError, match="not a regular file"):
        files.read_text(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        files.read_text(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        files.read_text(Path("/dev/zero"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError, match="does not exist"):
        files.read_text(tmp_path / "loop")


# ---- json lines

ROWS = [{"text": "one\u2028two\u2029three\x85\x0b\x0c\r\n end", "n": 1}, {"text": "", "n": 0.1}, {"a": {"b": [None]}}]


def test_rows_survive_even_with_characters_that_end_a_line_elsewhere(tmp_path):
    files.write_json_lines(tmp_path / "rows", ROWS)
    assert files.read_json_lines(tmp_path / "rows") == ROWS
    assert (tmp_path / "rows").read_bytes().count(b"\n") == 3


def test_no_rows_are_an_empty_file(tmp_path):
    files.write_json_lines(tmp_path / "rows", [])
    assert (tmp_path / "rows").read_bytes() == b""
    assert files.read_json_lines(tmp_path / "rows") == []


def test_lines_of_another_system_and_empty_ones_are_read(tmp_path):
    assert files.read_json_lines(written(tmp_path, '{"a": 1}\r\n\r\n{"b": 2}\r\n\n')) == [{"a": 1}, {"b": 2}]


def test_a_bad_line_is_named_by_its_number(tmp_path):
    path = written(tmp_path, '{"a": 1}\n\n{"b": }\n{"c": 3}\n')
    for torn in (False, True):
        with pytest.raises(DataError, match=r"file\.json line 3 is not valid JSON at line 1, column 7"):
            files.read_json_lines(path, torn=torn)


def test_a_log_torn_at_any_byte_loses_its_last_line_at_most(tmp_path):
    path = tmp_path / "log"
    rows = [{"step": step, "note": "\u00fc\u2028\U0001f600", "loss": 0.5} for step in range(3)]
    for row in rows:
        files.append_json_line(path, row)
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == 10]
    assert len(ends) == 3
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        found = files.read_json_lines(path, torn=True)
        complete = sum(end <= cut + 1 for end in ends)  # a line is whole even without its end
        assert found == rows[:complete], cut
        if cut + 1 not in ends and cut not in (0, *ends):
            with pytest.raises(DataError):
                files.read_json_lines(path)


def test_a_log_holds_no_number_that_it_could_not_be_read_with(tmp_path):
    row = {"loss": math.nan, "up": math.inf, "down": -math.inf, "fine": 1.5, "text": "NaN"}
    files.append_json_line(tmp_path / "log", row)
    expected = {"loss": None, "up": None, "down": None, "fine": 1.5, "text": "NaN"}
    assert files.read_json_lines(tmp_path / "log") == [expected]


def test_a_log_grows_at_its_end_and_makes_its_folder(tmp_path):
    for step in range(3):
        files.append_json_line(tmp_path / "new" / "log", {"step": step})
    assert (tmp_path / "new" / "log").read_text() == '{"step": 0}\n{"step": 1}\n{"step": 2}\n'


# ---- hashes


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    path = written(tmp_path, b"abc")
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_equal_values_have_equal_hashes_and_others_do_not():
    assert files.sha256_of({"a": 1, "b": [2, "ü"]}) == files.sha256_of({"b": [2, "ü"], "a": 1})
    values = [{}, [], "", 0, None, {"a": 1}, {"a": 2}, {"a": "1"}, [1, 2], [2, 1], {"a": {"b": 1}}, {"a": ["b", 1]}]
    assert len({files.sha256_of(value) for value in values}) == len(values)


# ---- sealed folders


@pytest.fixture
def sealed(tmp_path):
    folder = tmp_path / "sealed"
    (folder / "inner" / "deep").mkdir(parents=True)
    rng = random.Random(0)
    (folder / "weights.bin").write_bytes(rng.randbytes(3000))
    (folder / "config.json").write_text('{"width": 16}')
    (folder / "empty").write_bytes(b"")
    (folder / "inner" / "deep" / "state.bin").write_bytes(rng.randbytes(500))
    (folder / "inner" / files.MANIFEST).write_text("{}")  # not the folder's own: a file like any other
    files.seal(folder)
    return folder


def every_file(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_sealed_folder_is_valid_and_its_manifest_lists_every_other_file(sealed):
    files.verify(sealed)
    assert files.is_sealed(sealed)
    manifest = json.loads((sealed / files.MANIFEST).read_text())
    listed = {path.relative_to(sealed).as_posix() for path in every_file(sealed)} - {files.MANIFEST}
    assert set(manifest["sha256"]) == listed
    assert "inner/manifest.json" in listed
    assert manifest["version"] == files.MANIFEST_VERSION


def test_a_flipped_bit_anywhere_is_detected(sealed):
    places = [(path, offset) for path in every_file(sealed) for offset in range(path.stat().st_size)]
    rng = random.Random(1)
    in_manifest = [place for place in places if place[0] == sealed / files.MANIFEST]
    for path, offset in rng.sample(places, 50) + rng.sample(in_manifest, 50):
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        assert not files.is_sealed(sealed), (path.name, offset)
        path.write_bytes(whole)
    files.verify(sealed)


def test_a_byte_more_or_less_in_any_file_is_detected(sealed):
    for path in every_file(sealed):
        whole = path.read_bytes()
        for damaged in [whole + b"x", whole[:-1], whole[: len(whole) // 2], b""]:
            if damaged != whole:
                path.write_bytes(damaged)
                # a manifest is as good without its last line break
                assert files.is_sealed(sealed) == (path == sealed / files.MANIFEST and damaged == whole[:-1]), path
        path.write_bytes(whole)
    files.verify(sealed)


def test_a_missing_file_is_named(sealed):
    for path in every_file(sealed):
        whole = path.read_bytes()
        path.unlink()
        with pytest.raises(CheckpointError, match=path.name):
            files.verify(sealed)
        path.write_bytes(whole)
    files.verify(sealed)


def test_a_damaged_file_is_named(sealed):
    (sealed / "inner" / "deep" / "state.bin").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"inner/deep/state\.bin does not have the recorded sha256"):
        files.verify(sealed)


def test_a_folder_in_place_of_a_file_is_detected(sealed):
    (sealed / "config.json").unlink()
    (sealed / "config.json").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        files.verify(sealed)


def test_a_file_that_the_disk_no_longer_gives_is_named(sealed):
    """Reading /proc/self/mem from its beginning fails with the error of a broken disk, EIO."""
    (sealed / "config.json").unlink()
    (sealed / "config.json").symlink_to("/proc/self/mem")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read: Input/output error"):
        files.verify(sealed)
    assert not files.is_sealed(sealed)


@pytest.mark.parametrize("name", ["../outside", "inner/../../outside", "/etc/hostname", ".."])
def test_a_manifest_that_lists_what_lies_outside_is_refused(sealed, name):
    outside = sealed.parent / "outside"
    outside.write_text("x")
    manifest = {"version": 1, "sha256": {name: files.sha256(outside)}}
    (sealed / files.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="lies outside"):
        files.verify(sealed)


MANIFESTS = {
    "of a later version": ('{"version": 2, "sha256": {}}', "version 2, this release reads 1; upgrade"),
    "of a version in words": ('{"version": "1", "sha256": {}}', "version '1'"),
    "without a version": ('{"sha256": {}}', "damaged"),
    "without hashes": ('{"version": 1}', "damaged"),
    "a list": ("[1, 2]", "damaged"),
    "hashes as text": ('{"version": 1, "sha256": "abc"}', "damaged"),
    "cut off": ('{"version": 1, "sha', "damaged"),
    "a file twice": ('{"version": 1, "sha256": {"a": "b", "a": "c"}}', "damaged"),
    "nested": ("[" * 100_000, "damaged"),
    "not text": ("\x00", "damaged"),
    "a hash that is no text": ('{"version": 1, "sha256": {"config.json": null}}', "sha256"),
}


@pytest.mark.parametrize(("text", "reason"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_that_makes_no_sense_is_refused(sealed, text, reason):
    (sealed / files.MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match=reason):
        files.verify(sealed)


def test_what_was_never_sealed_does_not_count(tmp_path):
    with pytest.raises(CheckpointError, match=r"no manifest\.json: it was never completed"):
        files.verify(tmp_path)
    with pytest.raises(CheckpointError, match="not a directory"):
        files.verify(tmp_path / "missing")
    assert not files.is_sealed(tmp_path)
    assert not files.is_sealed(tmp_path / "missing")


def test_a_seal_that_fails_leaves_a_folder_that_does_not_count(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(os, "replace", failing(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        files.seal(tmp_path)
    assert not files.is_sealed(tmp_path)
    assert names(tmp_path) == ["file"]


def test_every_file_is_on_the_disk_before_the_manifest_says_so(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_text("a")
    (tmp_path / "inner" / "b").write_text("b")
    calls, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(Path(os.readlink(f"/proc/self/fd/{fd}"))), fsync(fd))[1])
    files.seal(tmp_path)
    manifest = next(index for index, path in enumerate(calls) if path.name.startswith(".manifest"))
    before, after = calls[:manifest], calls[manifest + 1 :]
    assert {tmp_path / "a", tmp_path / "inner" / "b", tmp_path / "inner", tmp_path} <= set(before)
    assert after == [tmp_path]


def test_a_published_folder_takes_the_place_of_an_older_one(sealed, tmp_path):
    final = tmp_path / "final"
    final.mkdir()
    (final / "old").write_text("old")
    files.seal(final)
    expected = [path.relative_to(sealed) for path in every_file(sealed)]
    files.publish(sealed, final)
    assert not sealed.exists()
    assert [path.relative_to(final) for path in every_file(final)] == expected
    files.verify(final)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_at_no_moment_does_a_published_folder_hold_half_of_the_older_one(sealed, tmp_path, monkeypatch):
    final = tmp_path / "final"
    shutil.copytree(sealed, final)
    seen, unlink = [], os.unlink

    def watching(*args, **kwargs):
        seen.append(files.is_sealed(final))
        return unlink(*args, **kwargs)

    monkeypatch.setattr(os, "unlink", watching)
    files.publish(sealed, final)
    assert seen
    assert all(seen)


def test_removing_takes_files_folders_and_links_but_never_what_a_link_leads_to(sealed, tmp_path):
    (tmp_path / "link").symlink_to(sealed)
    files.remove(tmp_path / "link")
    files.verify(sealed)
    files.remove(sealed / "config.json")
    files.remove(sealed / "config.json")  # once more is no error
    assert not (sealed / "config.json").exists()
    files.remove(sealed)
    assert names(tmp_path) == []


@pytest.mark.parametrize("done", range(6))
def test_a_folder_whose_removal_stops_halfway_counts_only_while_it_is_whole(sealed, monkeypatch, done):
    for number in range(50):  # so many that the manifest is hardly the first that the system lists
        (sealed / f"unlisted{number}").write_text("x")
    unlink, calls = os.unlink, []

    def stopping(*args, **kwargs):
        if len(calls) == done:
            raise OSError(5, "Input/output error")
        calls.append(args[0])
        return unlink(*args, **kwargs)

    monkeypatch.setattr(os, "unlink", stopping)
    with pytest.raises(OSError, match="Input/output error"):
        files.remove(sealed)
    assert len(calls) == done
    assert files.is_sealed(sealed) == (sealed / files.MANIFEST).exists() == (done == 0)


# ---- one process at a time

HOLDER = """
import sys, time
from pathlib import Path
from unspoken import files
with files.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def another_process(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def enter(folder):
    with files.locked(folder):
        return True


def test_a_folder_that_another_process_holds_is_refused_until_that_process_is_killed(tmp_path):
    folder = tmp_path / "run"
    with another_process(folder) as holder:
        with pytest.raises(CheckpointError, match="in use by another process"):
            enter(folder)
        assert enter(tmp_path / "other")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert enter(folder)


def test_a_folder_is_free_again_after_its_holder_is_done_or_failed(tmp_path):
    assert enter(tmp_path)
    with pytest.raises(ZeroDivisionError), files.locked(tmp_path):
        raise ZeroDivisionError
    assert enter(tmp_path)
    with files.locked(tmp_path), pytest.raises(CheckpointError):
        enter(tmp_path)


def test_a_lock_file_that_a_dead_process_left_behind_holds_nothing(tmp_path):
    (tmp_path / ".lock").write_text("12345")
    assert enter(tmp_path)
