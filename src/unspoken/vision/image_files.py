"""From the name of an image, as a row of a data set gives it, to the bytes of a file: nothing is trusted on the way.

Every refusal is a `DataError` whose message says what is wrong, what was found and what to do, without the name of the
file: whoever asked adds it.
"""

import os
import re
import stat
from pathlib import Path

from unspoken.errors import DataError

MAX_BYTES = 100 * 2**20
"""Bytes an image file may have."""

_MAX_NAME, _MAX_PART = 4096, 255
# two letters at least, so that no drive letter is meant; one slash, for Path() leaves one of the two
_URL = re.compile(r"\s*(?:[a-z][a-z0-9+.-]+:/|//|(?:data|file|https?|ftp|blob):)", re.IGNORECASE)


def locate(image: str | Path, root: Path | None) -> Path:
    """The real path of an image, all symbolic links followed; that it exists is not checked.

    Args:
        image: The name as the row gives it: relative to `root`, or an absolute path within it.
        root: The data folder, outside of which no file is used; None allows every file.

    Raises:
        DataError: The name is empty, no path, too long, or leads outside of the data folder.
    """
    name = os.fspath(image)
    if not name.strip():
        raise DataError("the name is empty; write the path of an image file into the row")
    if "\0" in name:
        raise DataError("the name holds a NUL byte, which no file name can; write the path of an image file")
    if _URL.match(name):
        raise DataError("it is a URL, not a path, and nothing is fetched; download the image and write its path")
    _refuse_long(name)
    if root is None:
        return Path(os.path.realpath(name))
    inside = os.path.realpath(root)
    # judged once by its words, before anything outside is touched, and once with its links followed
    for base in (os.path.abspath(root), inside):
        wanted = os.path.normpath(os.path.join(base, name))
        if _within(wanted, base):
            break
    else:
        raise DataError(f"the path leads outside of the data folder {root}; put the file in there")
    real = os.path.realpath(wanted)
    if not _within(real, inside):
        raise DataError(f"a symbolic link leads outside of the data folder {root}; copy the file in there")
    return Path(real)


def read_image_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file; at most `limit` of them are ever read.

    Raises:
        DataError: It is missing, no regular file, empty, too large or not readable.
    """
    try:
        # looked at before it is opened: opening a device can already do something
        _refuse_unusable(path.stat(), limit)
        # a pipe put in its place since then must not make this wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _refuse_unusable(status, limit)
            data = file.read(status.st_size + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError("the file does not exist; mend the path or put the file there") from error
    except PermissionError as error:
        raise DataError("the file may not be read; give this user the permission (chmod +r)") from error
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror}); check the disk and the path") from error
    if len(data) != status.st_size:
        raise DataError("the file changed while it was read; let its writer finish, then start again")
    return data


def _refuse_long(name: str) -> None:
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError as error:
        raise DataError(f"the name cannot be a file name ({error.reason}); write the path of an image file") from error
    longest = max(len(part) for part in encoded.split(b"/"))
    if len(encoded) > _MAX_NAME or longest > _MAX_PART:
        raise DataError(
            f"the name is too long ({len(encoded):,} bytes, its longest part {longest:,}; allowed are {_MAX_NAME:,} "
            f"and {_MAX_PART}); shorten it"
        )


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _refuse_unusable(status: os.stat_result, limit: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise DataError("it is a folder, not a file; write the path of one image file")
    if not stat.S_ISREG(status.st_mode):
        kind = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}.get(stat.S_IFMT(status.st_mode), "device")
        raise DataError(f"it is a {kind}, not a regular file; write the path of an image file")
    if status.st_size == 0:
        raise DataError("the file has 0 bytes; copy or download it again")
    if status.st_size > limit:
        raise DataError(f"the file has {status.st_size:,} bytes, more than the {limit:,} allowed; make it smaller")
