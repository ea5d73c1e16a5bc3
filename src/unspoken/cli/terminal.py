"""What reaches the terminal: results on stdout, everything else on stderr, nothing that a terminal would obey."""

import os
import sys
from contextlib import suppress
from typing import TextIO


def say(text: str) -> None:
    """A result, on stdout."""
    sys.stdout.write(printable(text, sys.stdout) + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A remark, on stderr."""
    sys.stderr.write(printable(f"unspoken: {text}", sys.stderr) + "\n")
    sys.stderr.flush()


def printable(text: str, stream: TextIO) -> str:
    """The text with what a terminal would obey, or could not show, escaped."""
    plain = "".join(
        character if character.isprintable() or character in "\n\t" else repr(character)[1:-1] for character in text
    )
    encoding = stream.encoding or "utf-8"
    return plain.encode(encoding, "backslashreplace").decode(encoding)


def open_streams() -> None:
    """Let what is said go nowhere, where the stream for it was closed before the program began (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the program ends


def close_stdout() -> None:
    """Let the interpreter flush into nothing, so that it does not complain a second time."""
    with suppress(OSError, ValueError):  # where stdout is no file, nothing is flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def hide_loading_bars() -> None:
    """Leave out the library's bars for files of this machine; those of a download are worth seeing."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
