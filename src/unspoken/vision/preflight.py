"""All images of a data set, checked before training begins: every bad file is named, with its rows, in one error."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from unspoken.errors import DataError
from unspoken.progress import progress_bar
from unspoken.vision.image_files import MAX_BYTES, locate
from unspoken.vision.image_headers import MAX_PIXELS
from unspoken.vision.images import ImageFacts, inspect_image

Found = TypeVar("Found")

MAX_LINES = 50
"""Bad files that an error lists; the others are counted."""

_MAX_ROWS, _MAX_NAME = 3, 120


def preflight(
    rows: Iterable[tuple[str, str]],
    root: Path | None,
    *,
    limit: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    max_lines: int = MAX_LINES,
) -> Mapping[str, ImageFacts]:
    """Check every image file that rows name, each file once however many rows and spellings name it.

    Args:
        rows: Id of a row and the name of an image in it; a row with several images comes several times.
        root: The data folder: relative names start there, and no file outside of it is used. None allows every file.
        limit: Pixels an image may have.
        max_bytes: Bytes a file may have.
        max_lines: Bad files that the error lists.

    Returns:
        For each name, as the rows give it, what is known of its file.

    Raises:
        DataError: The data folder is no folder, or any image cannot be used; it names them all.
    """
    return _looked_at(rows, root, lambda path: inspect_image(path, limit, max_bytes), max_lines)


def refuse_absent(rows: Iterable[tuple[str, str]], root: Path | None) -> None:
    """As `preflight`, but no file is opened: it is enough that all of them are there.

    Raises:
        DataError: The data folder is no folder, or any image is not there; it names them all.
    """
    _looked_at(rows, root, _present, MAX_LINES)


def _present(path: Path) -> None:
    if not path.is_file():
        raise DataError("the file does not exist; mend the path or put the file there")


def _looked_at(
    rows: Iterable[tuple[str, str]], root: Path | None, look: Callable[[Path], Found], max_lines: int
) -> Mapping[str, Found]:
    """What is seen in each file, by the names that rows give it."""
    if root is not None and not root.is_dir():
        raise DataError(f"the data folder {root} is not a folder; give the one that holds the images")
    rows_of: dict[str, list[str]] = {}
    for row, image in rows:
        rows_of.setdefault(image, []).append(row)

    reasons: dict[str, str] = {}
    names_of: dict[Path, list[str]] = {}
    for image in rows_of:
        try:
            names_of.setdefault(locate(image, root), []).append(image)
        except DataError as error:
            reasons[image] = str(error)

    facts: dict[str, Found] = {}
    with progress_bar("images") as advance:
        for done, (path, images) in enumerate(names_of.items(), 1):
            try:
                facts |= dict.fromkeys(images, look(path))
            except DataError as error:
                reasons |= dict.fromkeys(images, str(error))
            advance("checking", done, len(names_of))
    if reasons:
        bad = [(image, rows_of[image], reasons[image]) for image in rows_of if image in reasons]
        raise DataError(_message(bad, len(rows_of), root, max_lines))
    return {image: facts[image] for image in rows_of}


def _message(bad: Sequence[tuple[str, Sequence[str], str]], total: int, root: Path | None, max_lines: int) -> str:
    where = "" if root is None else f" of the data folder {root}"
    lines = [f"{len(bad):,} of {total:,} images{where} cannot be used; mend or remove them, then start again"]
    lines += [f"{_brief(image)} ({_rows(rows)}): {reason}" for image, rows, reason in bad[:max_lines]]
    if len(bad) > max_lines:
        lines.append(f"and {len(bad) - max_lines:,} more")
    return "\n  ".join(lines)


def _rows(rows: Sequence[str]) -> str:
    shown = ", ".join(_brief(row) for row in rows[:_MAX_ROWS])
    more = f" and {len(rows) - _MAX_ROWS:,} more" if len(rows) > _MAX_ROWS else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}{more}"


def _brief(text: str) -> str:
    """A text on one line, with what a terminal would not print escaped; a long one without its middle."""
    half = _MAX_NAME // 2
    return repr(text if len(text) <= _MAX_NAME else f"{text[:half]}...{text[-half:]}")
