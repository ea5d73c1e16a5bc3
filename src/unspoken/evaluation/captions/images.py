"""Captions beside their images, through a CLIP: is the caption about what is seen?

    CLIPScore = 2.5 max(cos, 0)    (arXiv:2104.08718)

The text is the caption behind "A photo depicts ". A figure says little alone: `beside` measures the references too,
which are the ceiling, and the references of other images, which are the floor.

Shapes: N images or captions, E width of the space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from unspoken.errors import DataError
from unspoken.evaluation.captions.measure import Captions
from unspoken.evaluation.captions.statistics import Share, Statistic, mean
from unspoken.evaluation.retrieval import retrieval
from unspoken.vision.clip import Clip
from unspoken.vision.images import inspect_image, open_image

PREFIX = "A photo depicts "
"""What CLIPScore writes before a caption. A CLIP that never read such words is asked without (an empty one)."""
_WEIGHT = 2.5
_AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """Captions as a CLIP reads them.

    Attributes:
        texts: Their unit vectors, (N, E).
        cut: Which of them are longer than it reads; of those it has read the beginning.
    """

    texts: Tensor
    cut: Sequence[bool]


def see(clip: Clip, paths: Sequence[Path]) -> Tensor:
    """Unit vectors of image files, (N, E), few of them in memory at once.

    Raises:
        DataError: A file cannot be used.
    """
    parts = []
    for start in range(0, len(paths), _AT_ONCE):
        pixels = []
        for path in paths[start : start + _AT_ONCE]:
            try:
                facts = inspect_image(path)
            except DataError as error:
                raise DataError(f"image {str(path)!r}: {error}") from error
            pixels.append(clip.pixels(open_image(path, facts)))
        parts.append(clip.images(pixels))
    return torch.cat(parts)


def read(clip: Clip, captions: Sequence[str], prefix: str = PREFIX) -> Read:
    """Captions behind a prefix, each cut to what the CLIP reads; an equal caption is read once."""
    places = {text: place for place, text in enumerate(dict.fromkeys(captions))}
    fitted = [clip.fit(prefix + text) for text in places]
    texts_NE = clip.texts([text for text, _ in fitted])
    chosen = [places[text] for text in captions]
    return Read(texts_NE[chosen], [fitted[place][1] for place in chosen])


def score(images_NE: Tensor, captions: Read) -> Captions:
    """CLIPScore, the cosine it is made of, and the share of captions that were cut.

    Raises:
        DataError: Images and captions are not equally many, or fewer than two.
    """
    n = len(images_NE)
    if n != len(captions.texts) or n < 2:
        raise DataError(f"captions are measured beside as many images, at least 2; found {len(captions.cut)} and {n}")
    cosines: list[float] = (images_NE.double() * captions.texts.double()).sum(dim=1).tolist()
    statistics: dict[str, Statistic] = {
        "clip_score": mean([_WEIGHT * max(cosine, 0.0) for cosine in cosines]),
        "cosine": mean(cosines),
        "cut": Share(captions.cut),
    }
    return Captions(statistics, n)


def beside(
    clip: Clip,
    images_NE: Tensor,
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str],
    *,
    prefix: str = PREFIX,
) -> dict[str, Captions]:
    """`score` of the captions of each system, of `reference` (the ceiling) and of `another_reference` (the floor).

    Args:
        clip: The CLIP.
        images_NE: Of each row, from `see`.
        systems: A caption of each row by each system; one that writes the caption before it again is `copied`.
        references: A caption of each row.
        prefix: Stands before all captions.

    Raises:
        DataError: Images and captions are not equally many, or fewer than two.
    """
    known = {**systems, "reference": references, "another_reference": another(references)}
    return {name: score(images_NE, read(clip, captions, prefix)) for name, captions in known.items()}


def another(references: Sequence[str]) -> list[str]:
    """For each row the reference of another one: a random cycle through all rows, always the same.

    Raises:
        DataError: There is only one row.
    """
    if len(references) < 2:
        raise DataError(f"the reference of another row needs at least 2 rows, found {len(references)}; give more")
    order = list(range(len(references)))
    Random(0).shuffle(order)
    following = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [references[following[row]] for row in range(len(references))]


def found(images_NE: Tensor, captions: Read, references: Sequence[str], candidates: int) -> dict[str, Any]:
    """`retrieval` of the image by its caption and the other way round.

    Images with the same reference are right for each other's captions. What the captions say does not count: one
    that is written for every image finds none of them.
    """
    return retrieval(images_NE, captions.texts, references, candidates)
