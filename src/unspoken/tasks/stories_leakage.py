"""Which stories show a frame of another set of stories: the trace that two cuts of one film leave.

The data set does not say from which film a story is. Stories of one film that have no frame in common are not found.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from unspoken.errors import DataError
from unspoken.files import read_json, write_json

Frames: TypeAlias = Mapping[str, Sequence[str]]
"""For each story the names of its image files."""

NEAR = 4
"""Bits of 64 in which the fingerprints of near-duplicates may differ."""

_SIDE = 8
_PLAIN = 16
"""Grey levels between the darkest and the brightest part of an image below which it looks like every other one."""
_MAX_PIXELS = 50_000_000
_MAX_FORMATS = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True, slots=True)
class Shared:
    """What some stories have in common with others.

    Attributes:
        stories: Ids of those that have a frame in common with another one, in order.
        images: Different image files in them that are the common ones.
        unread: Image files that could not be compared but by their bytes.
    """

    stories: tuple[str, ...]
    images: int
    unread: int = 0


def same_files(own: Frames, others: Frames) -> Shared:
    """Stories that show a file that one of the others shows: names say what is in a file."""
    known = {name for names in others.values() for name in names}
    return _shared(own, {name for names in own.values() for name in names if name in known})


def near_files(own: Frames, others: Frames, prints: Mapping[str, int | None]) -> Shared:
    """As `same_files`, with those files that look nearly the same.

    Args:
        own: The stories that are looked at.
        others: Those with which they are compared.
        prints: The fingerprint of each file, see `fingerprints`.
    """
    known = {name for names in others.values() for name in names}
    index: dict[tuple[int, int], set[int]] = defaultdict(set)
    for name in known:
        if (bits := prints.get(name)) is not None:
            for key in _bands(bits):
                index[key].add(bits)
    found = set()
    for name in {name for names in own.values() for name in names}:
        bits = prints.get(name)
        if name in known or (bits is not None and _has_near(bits, index)):
            found.add(name)
    compared = known | {name for names in own.values() for name in names}
    return _shared(own, found, unread=sum(prints.get(name, 0) is None for name in compared))


def fingerprints(names: Iterable[str], folder: Path, kept: Path) -> Mapping[str, int | None]:
    """What images look like, 64 bits each; None for a plain one, or one that cannot be opened.

    Args:
        names: Image files in `folder`; a name stands for what is in the file.
        folder: Where they lie.
        kept: A file with fingerprints that are known already; it gets the others.

    Raises:
        DataError: That file is not one of fingerprints.
    """
    known: dict[str, int | None] = {}
    if kept.is_file():
        value = read_json(kept)
        if not isinstance(value, dict) or not all(bits is None or isinstance(bits, int) for bits in value.values()):
            raise DataError(f"{kept} holds no fingerprints of images; remove it, and they are made anew")
        known = value
    missing = [name for name in dict.fromkeys(names) if name not in known]
    known |= {name: fingerprint(folder / name) for name in missing}
    if missing:
        write_json(kept, known)
    return known


def fingerprint(path: Path) -> int | None:
    """64 bits that say where a small grey copy of an image grows brighter to the right; None for a plain one.

    None, too, for a file that cannot be opened: whoever reads the image says what is wrong with it.
    """
    try:
        with Image.open(path, formats=_MAX_FORMATS) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                return None
            small = picture.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    levels = list(small.tobytes())
    if max(levels) - min(levels) < _PLAIN:
        return None
    bits = 0
    for row in range(_SIDE):
        for column in range(_SIDE):
            place = row * (_SIDE + 1) + column
            bits = bits << 1 | (levels[place] < levels[place + 1])
    return bits


def _bands(bits: int) -> Sequence[tuple[int, int]]:
    """Parts of a fingerprint, one more than bits may differ: near-duplicates have one in common."""
    width = -(-_SIDE * _SIDE // (NEAR + 1))
    return [(band, bits >> band * width & (1 << width) - 1) for band in range(NEAR + 1)]


def _has_near(bits: int, index: Mapping[tuple[int, int], set[int]]) -> bool:
    return any((bits ^ other).bit_count() <= NEAR for key in _bands(bits) for other in index.get(key, ()))


def _shared(own: Frames, found: set[str], unread: int = 0) -> Shared:
    return Shared(tuple(id for id, names in own.items() if found.intersection(names)), len(found), unread)
