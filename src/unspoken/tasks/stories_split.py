"""Stories divided into those of training, of validation and a held-out tenth, and the file that keeps the division.

Of each stratum of numbers of frames 80 in 100 stories are for training and 10 for validation, each count rounded; the
others are held out. 3,552 stories with 5 to 22 frames, as many of each number as of any other, are divided into 2,841,
355 and 356. A story is placed by its id and the seed, wherever its row stands.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unspoken.errors import DataError
from unspoken.files import read_json, write_json
from unspoken.tasks.read_rows import shown
from unspoken.tasks.stories_captions import named

LAST_OF_STRATA = (7, 11, 15)
"""Most frames of the stories of each stratum but the last, which has all longer ones."""
TRAINING, VALIDATION = 0.8, 0.1
"""Shares of each stratum."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Division:
    """Ids of stories.

    Attributes:
        train: For training.
        validation: For validation.
        held_out: For neither.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    held_out: tuple[str, ...]


def divide(frames: Mapping[str, int], seed: int) -> Division:
    """Divide stories.

    Args:
        frames: For the id of each story how many frames it has.
        seed: Decides, with the ids, which stories go where.
    """
    order = sorted(frames, key=lambda id: hashlib.sha256(f"{seed}/{id}".encode("utf-8", "surrogatepass")).digest())
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    for stratum in range(len(LAST_OF_STRATA) + 1):
        ids = [id for id in order if stratum_of(frames[id]) == stratum]
        training = round(TRAINING * len(ids))
        validation = training + round(VALIDATION * len(ids))
        for part, found in zip(parts, (ids[:training], ids[training:validation], ids[validation:]), strict=True):
            part += found
    return Division(*(tuple(part) for part in parts))


def stratum_of(frames: int) -> int:
    """The number of the stratum of a story with so many frames, from 0."""
    return sum(frames > last for last in LAST_OF_STRATA)


def kept_division(path: Path, frames: Mapping[str, int], seed: int) -> Division:
    """The division in a file; where there is none, a new one, which is written there.

    Raises:
        DataError: The file cannot be read, was made with another seed, or is about other stories.
    """
    if not path.exists():
        division = divide(frames, seed)
        try:
            write_json(path, {"version": _VERSION, "seed": seed, **asdict(division)})
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}; give another task.splits") from error
        return division
    division, written_with = _read(path)
    if written_with != seed:
        raise DataError(
            f"{path} was divided with the seed {written_with}, task.seed is {seed}; set task.seed={written_with}, or "
            "task.splits to another file"
        )
    ids = [*division.train, *division.validation, *division.held_out]
    if len(set(ids)) < len(ids):
        raise DataError(f"{path} has a story in two parts; remove the file to divide the stories anew")
    unknown, missing = sorted(frames.keys() - set(ids)), sorted(set(ids) - frames.keys())
    if unknown or missing:
        told = f"{len(unknown):,} stories of the data set are not in it"
        told += f" ({named(unknown)})" if unknown else ""
        told += f" and {len(missing):,} of it are not in the data set"
        told += f" ({named(missing)})" if missing else ""
        raise DataError(
            f"{path} divides other stories: {told}; give the data set that it was made of, or task.splits another file"
        )
    return division


def _read(path: Path) -> tuple[Division, Any]:
    value = read_json(path)
    keys = ("train", "validation", "held_out")
    whole = isinstance(value, dict) and value.get("version") == _VERSION and "seed" in value
    if not whole or not all(_is_ids(value.get(key)) for key in keys):
        raise DataError(f"{path} is {shown(value)}, not a division of stories; give task.splits another file")
    return Division(*(tuple(value[key]) for key in keys)), value["seed"]


def _is_ids(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(id, str) for id in value)
