"""Every write and every untrusted read of the package, in one place.

A file is written to a temporary name, flushed to the disk and renamed, so that it is either absent or whole. A
directory counts only when it is *sealed*: its manifest, with the sha256 of every other file in it, is written last.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from unspoken.errors import CheckpointError, DataError

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
MAX_JSON_BYTES = 4 * 2**30
MAX_ROW_BYTES = 16 * 2**20
MAX_DIGITS = 4000


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the file at `path` by `data`, atomically and durably."""
    place(path, data)
    flush(path.parent)


def place(path: Path, data: bytes) -> None:
    """As `write_bytes`, for many files of one folder: the caller flushes the folder once, after the last of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        _fill(temporary, data, path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_together(directory: Path, texts: Mapping[str, str], *, instead_of: Iterable[Path] = ()) -> None:
    """Replace several files of a folder by texts in UTF-8, once all of them are on the disk.

    Args:
        directory: The folder.
        texts: By file name. While the last of them is not there, the others may be new or old.
        instead_of: Earlier files, of which those without a new text go.
    """
    *others, last = texts
    temporaries = {name: _temporary(directory / name) for name in texts}
    try:
        for name, text in texts.items():
            _fill(temporaries[name], text.encode(), directory / name)
        (directory / last).unlink(missing_ok=True)
        for name in others:
            temporaries[name].replace(directory / name)
        for earlier in instead_of:
            if earlier.name not in texts:
                remove(earlier)
        flush(directory)
        temporaries[last].replace(directory / last)
        flush(directory)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def check_writable(directory: Path) -> None:
    """Refuse a folder that nothing can be written into, before the work is done that would fill it.

    Raises:
        CheckpointError: It is such a folder.
    """
    if directory.is_dir() and not os.access(directory, os.W_OK | os.X_OK):
        raise CheckpointError(f"{directory} cannot be written into; copy it to a folder of yours, and give the copy")


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _fill(temporary: Path, data: bytes, path: Path) -> None:
    """Write a file that is to become `path`, which is the one that a failure names."""
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace the file at `path` by `text` in UTF-8, atomically and durably."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace the file at `path` by `value` as JSON; NaN and infinity are refused."""
    write_text(path, json_text(value))


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the file at `path` by one JSON object a line."""
    write_text(path, json_lines_text(rows))


def json_text(value: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def json_lines_text(rows: list[dict[str, Any]]) -> str:
    """What `write_json_lines` writes."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def append_json_line(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line to a log; a number that is not finite becomes null, so that the log can be read again.

    A line torn by a crash is left out by `read_json_lines(torn=True)`; as it is ASCII, no character is torn.
    """
    values = {key: None if isinstance(value, float) and not isfinite(value) else value for key, value in row.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="ascii", newline="\n") as file:
        file.write(json.dumps(values, allow_nan=False) + "\n")


def read_text(path: Path, *, limit: int = MAX_JSON_BYTES) -> str:
    """The text of a regular UTF-8 file of at most `limit` bytes.

    Raises:
        DataError: It is missing, not a regular file, too large, compressed, or not UTF-8.
    """
    if not path.exists():
        place = "" if path.is_absolute() else f" in {Path.cwd()}, where relative paths begin"
        raise DataError(f"{path} does not exist{place}; give the path of an existing file")
    if not path.is_file():
        raise DataError(f"{path} is not a regular file (a folder, pipe or device); give the path of a file")
    size = path.stat().st_size
    if size > limit:
        raise DataError(f"{path} has {size:,} bytes, more than the {limit:,} allowed here; split it")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    if data[:2] == b"\x1f\x8b" or data[:4] == b"PK\x03\x04":
        kind = "gzip" if data[:2] == b"\x1f\x8b" else "zip"
        raise DataError(f"{path} is a {kind} archive; unpack it first")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); convert it to UTF-8") from error


def read_json(path: Path, *, limit: int = MAX_JSON_BYTES) -> Any:
    """The value of a JSON file; NaN and Infinity, which are not JSON, are refused.

    Raises:
        DataError: See `read_text`; or it is not JSON (with line and column), or nested too deeply.
    """
    return parse_json(read_text(path, limit=limit), str(path))


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text.

    Raises:
        DataError: It is not JSON; the message starts with `where` and gives line and column.
    """

    def refuse(constant: str) -> None:
        raise DataError(f"{where} holds {constant}, which is not JSON; write null or a number")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
        if twice is not None:
            raise DataError(f"{where} holds the key {twice!r} twice in one object; keep one of them")
        return dict(pairs)

    def integer(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise DataError(f"{where} holds a number of {len(digits):,} digits; write it as text")
        return int(digits)

    def decimal(digits: str) -> float:
        if not isfinite(value := float(digits)):
            raise DataError(f"{where} holds {digits[:20]}, which is too large for a number; write it as text")
        return value

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=unique, parse_int=integer, parse_float=decimal)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where} is not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}; it may be cut off"
        ) from error
    except RecursionError as error:
        raise DataError(f"{where} is nested too deeply to be data; expected rows of strings and lists") from error


def read_json_lines(path: Path, *, torn: bool = False) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; with `torn`, a last line that a crash cut off is left out."""
    # not splitlines: it also breaks at characters that JSON allows within a text
    lines = read_text(path).rstrip("\n").split("\n")
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(parse_json(line, f"{path} line {number}"))
        except DataError:
            if not (torn and number == len(lines)):
                raise
    return rows


def sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(value: Any) -> str:
    """Hex sha256 of a plain value, the same for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def publish(partial: Path, final: Path) -> None:
    """Give a sealed folder its name; an older folder of that name goes, and whole: at no moment is there half of it."""
    older = final.with_name(f".{final.name}.old")
    remove(older)
    if final.exists():
        final.replace(older)
    partial.replace(final)
    flush(final.parent)
    remove(older)


def seal(directory: Path) -> None:
    """Flush every file of a folder to the disk, then write the manifest that makes the folder count."""
    files = {}
    for path in _files(directory):
        flush(path)
        files[path.relative_to(directory).as_posix()] = sha256(path)
    for folder in sorted({path.parent for path in _files(directory)}):
        flush(folder)
    write_json(directory / MANIFEST, {"version": MANIFEST_VERSION, "sha256": files})


def verify(directory: Path) -> None:
    """Check that a folder is sealed and that every file in its manifest has the recorded sha256.

    Raises:
        CheckpointError: Names the first file that is missing or differs.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory} is not a directory; give the path of a run or of a checkpoint")
    path = directory / MANIFEST
    if not path.is_file():
        raise CheckpointError(f"{directory} has no {MANIFEST}: it was never completed; use another checkpoint")
    try:
        manifest = read_json(path, limit=64 * 2**20)
        version, recorded = manifest["version"], dict(manifest["sha256"])
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); use another checkpoint") from error
    if version != MANIFEST_VERSION:
        raise CheckpointError(
            f"{path} has version {version!r}, this release reads {MANIFEST_VERSION}; upgrade unspoken"
        )
    for name, expected in recorded.items():
        check(directory, name, expected)


def check(directory: Path, name: str, expected: str) -> None:
    """Check that a file of a folder has this sha256.

    Raises:
        CheckpointError: It lies outside the folder, is missing, cannot be read, or differs.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise CheckpointError(f"{directory} lists {name!r}, which lies outside of it; do not use it")
    file = directory / name
    if not file.is_file():
        raise CheckpointError(f"{file} is missing; use another checkpoint")
    try:
        found = sha256(file)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}; use another checkpoint") from error
    if found != expected:
        raise CheckpointError(f"{file} does not have the recorded sha256: it is damaged; use another checkpoint")


def share(path: Path) -> None:
    """Give a file the mode that every new file has: safetensors makes its own readable to their owner alone."""
    umask = os.umask(0o077)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def is_sealed(directory: Path) -> bool:
    """Whether `verify` accepts the folder."""
    try:
        verify(directory)
    except CheckpointError:
        return False
    return True


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a folder for this process alone; the system lets go of it when the process ends, however it ends.

    Raises:
        CheckpointError: Another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CheckpointError(
                f"{directory} is in use by another process; wait for it or choose another --out"
            ) from error
        yield


def remove(path: Path) -> None:
    """Delete a file or a folder; a sealed folder loses its manifest first, so that half of it never counts."""
    if path.is_dir() and not path.is_symlink():
        (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file() and path != directory / MANIFEST)


def flush(path: Path) -> None:
    """Wait until a file or the entries of a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
