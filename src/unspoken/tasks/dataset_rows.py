"""The rows of a data set of the `datasets` library, from a hub or from a folder, and their images put into files.

    {"image": {"bytes": b"...", "path": "x"}, "question": "Who?"}   ->   {"image": "9f86d0....png", "question": "Who?"}

An image keeps its bytes as they are and is named by their sha256: it is written once, whatever rows it stands in and
however often they are read.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspoken.errors import DataError
from unspoken.files import flush, place, sha256
from unspoken.records import Rejection, Split
from unspoken.tasks.read_rows import Row, Rows, shown

if TYPE_CHECKING:
    from datasets import Dataset

_NAMES = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
_EXTENSIONS = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg"}


def dataset_rows(name: str, revision: str | None, split: Split, images: Path) -> Rows:
    """The rows of a split; under `image` stands the name of a file in `images`, or null where there is none.

    Args:
        name: Id on a hub, or a folder: one that `save_to_disk` wrote, or one with files that `datasets` reads.
        revision: Commit, branch or tag of an id.
        split: Which rows.
        images: Folder that gets the image files.

    Raises:
        DataError: `datasets` is not installed, or the data set cannot be loaded or lacks the split.
    """
    data = _with_encoded_images(_split_of(name, None, revision, split))
    source = f"{name} ({split})"
    found: list[tuple[int, Row]] = []
    unreadable: list[Rejection] = []
    for number, row in enumerate(data, 1):
        try:
            found.append((number, {**row, "image": _file_of(row.get("image"), images)}))
        except DataError as error:
            unreadable.append(Rejection(source, number, str(error)))
    if images.is_dir():
        flush(images)
    return Rows(source, tuple(found), tuple(unreadable))


def rows_with_lists_of_images(name: str, revision: str | None, split: Split, images: Path) -> Rows:
    """The rows of a split; under `images` stands a list with the name of a file, or null where there is none, for each.

    Under `missing` stands what is wrong with those that are null, by their places from 1: no row is lost for them.

    Args:
        name: As for `dataset_rows`.
        revision: Commit, branch or tag of an id.
        split: Which rows.
        images: Folder that gets the image files.

    Raises:
        DataError: `datasets` is not installed, or the data set cannot be loaded or lacks the split.
    """
    found: list[tuple[int, Row]] = []
    for number, row in enumerate(_with_lists_of_encoded_images(_split_of(name, None, revision, split)), 1):
        names: list[str | None] = []
        missing: dict[int, str] = {}
        for number_of_image, image in enumerate(row["images"] or (), 1):
            try:
                names.append(_file_of(image, images))
            except DataError as error:
                names.append(None)
                missing[number_of_image] = str(error)
            if image is None:
                missing[number_of_image] = "it is null; put the image in"
        found.append((number, {**row, "images": names, "missing": missing}))
    if images.is_dir():
        flush(images)
    return Rows(f"{name} ({split})", tuple(found), ())


def text_rows(name: str, config: str | None, revision: str | None, split: Split) -> Rows:
    """The rows of a split that hold no images, column by column.

    Args:
        name: As for `dataset_rows`.
        config: Which of its configurations, where it has several; a folder that `save_to_disk` wrote has one.
        revision: Commit, branch or tag of an id.
        split: Which rows.

    Raises:
        DataError: `datasets` is not installed, or the data set cannot be loaded or lacks the split.
    """
    data = _split_of(name, config, revision, split)
    return Rows(f"{name} ({split})", tuple(enumerate(data, 1)), ())


def _split_of(name: str, config: str | None, revision: str | None, split: Split) -> "Dataset":
    data = _load(name, config, revision)
    for key in _NAMES[split]:
        if key in data:
            return data[key]
    raise DataError(
        f"the data set {name} has no split {split} among {', '.join(data)}; set task.{split} to a file, or "
        "task.dataset to another data set"
    )


def _load(name: str, config: str | None, revision: str | None) -> "dict[str, Dataset]":
    """The splits of a data set by name; one without splits counts as training rows, as `datasets` itself has it."""
    try:
        from datasets import Dataset, load_dataset, load_from_disk
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise DataError(f"task.dataset={name} needs the package datasets; install it: pip install datasets") from error
    folder = Path(name).expanduser()
    saved = any((folder / file).is_file() for file in ("dataset_dict.json", "dataset_info.json"))
    try:
        data = load_from_disk(str(folder)) if saved else load_dataset(str(folder), config, revision=revision)
    except ConnectionError as error:
        raise DataError(
            f"the data set {name} is no folder here and its hub cannot be reached ({_reason(error)}); get online once "
            "(and unset HF_HUB_OFFLINE), or set task.dataset to a folder that save_to_disk wrote elsewhere"
        ) from error
    except (DatasetsError, OSError, ValueError, LookupError) as error:  # the library indexes what a folder lacks
        raise DataError(
            f"the data set {name} cannot be loaded ({_reason(error)}); correct task.dataset, or load it again"
        ) from error
    if isinstance(data, Dataset):
        return {str(data.split or "train"): data}
    return {str(key): value for key, value in data.items()}


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _with_encoded_images(data: "Dataset") -> "Dataset":
    """Rows whose images are the bytes of their files, not pixels.

    Raises:
        DataError: The column `image` holds something else.
    """
    from datasets import Image

    if "image" not in data.column_names or not isinstance(data.features["image"], Image):
        found = ", ".join(f"{key}: {type(kind).__name__}" for key, kind in data.features.items())
        raise DataError(
            f"the data set has no column 'image' of the type Image; found {found}; cast it, or give the rows as a file"
        )
    return data.cast_column("image", Image(decode=False))


def _with_lists_of_encoded_images(data: "Dataset") -> "Dataset":
    """As `_with_encoded_images`, for a column `images` of lists.

    Raises:
        DataError: The column holds something else.
    """
    from datasets import Image, List

    kind = data.features.get("images")
    if not isinstance(kind, List) or not isinstance(kind.feature, Image):
        found = ", ".join(f"{key}: {type(kind).__name__}" for key, kind in data.features.items())
        raise DataError(f"the data set has no column 'images' of the type List(Image()); found {found}; cast it")
    return data.cast_column("images", List(Image(decode=False)))


def _file_of(image: Any, images: Path) -> str | None:
    """The name of the file that holds an image; it is written unless it is there."""
    if image is None:
        return None
    data = image["bytes"]
    if not data:
        raise DataError(
            f"image holds no bytes but {shown(image['path'])}; save the data set with save_to_disk, which puts them in"
        )
    digest = hashlib.sha256(data).hexdigest()
    extension = next((kind for start, kind in _EXTENSIONS.items() if data.startswith(start)), "")
    path = images / f"{digest}{extension}"
    if not path.is_file() or sha256(path) != digest:
        place(path, data)
    return path.name
