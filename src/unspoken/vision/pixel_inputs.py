"""Pixels of images for an encoder that learns: each file is decoded and prepared once, and kept in main memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from unspoken.errors import DataError
from unspoken.progress import progress_bar
from unspoken.vision.images import ImageFacts, open_image

MAX_BYTES = 8 * 2**30
"""Memory that the pixels of a data set may take."""


class PreparesPixels(Protocol):
    """An encoder, as far as pixels go."""

    def pixels(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """(3, height, width), as the encoder takes it."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Pixels of one image; an `ImageInput`.

    Attributes:
        values: (3, height, width) in half precision: its steps are finer than those of 8 bits a colour.
    """

    values: npt.NDArray[np.float16]

    def array(self) -> npt.NDArray[np.float32]:
        """See `ImageInput.array`."""
        return self.values.astype(np.float32)


def pixels_of(encoder: PreparesPixels, facts: Sequence[ImageFacts]) -> Mapping[str, Pixels]:
    """The pixels of images as the encoder takes them, by the sha256 of their files.

    Raises:
        DataError: A file is another one than when it was checked, or all together take too much memory.
    """
    wanted = {each.sha256: each for each in facts}
    found: dict[str, Pixels] = {}
    with progress_bar("images") as advance:
        for done, (sha256, each) in enumerate(wanted.items(), 1):
            found[sha256] = Pixels(encoder.pixels(open_image(each.path, each)).astype(np.float16))
            if done == 1 and found[sha256].values.nbytes * len(wanted) > MAX_BYTES:
                needed = found[sha256].values.nbytes * len(wanted) / 2**30
                raise DataError(
                    f"the pixels of {len(wanted):,} images take {needed:.1f} GiB of memory; set "
                    "model.vision.train_encoder=false, which keeps their features on disk, or take fewer rows"
                )
            advance("preparing", done, len(wanted))
    return found
