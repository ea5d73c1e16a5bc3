"""Small copies of pictures, for pages that hold all they show."""

import io
from base64 import b64encode

from PIL import Image

QUALITY = 80
"""Of a small copy that loses what nobody sees."""
SIDE = 96
"""Pixels on the longer side of a small copy."""
HEAD = "data:image/png;base64,"
HEAD_OF_PHOTOGRAPH = "data:image/jpeg;base64,"
MAX_LETTERS = 40_000
"""Letters of the longest small copy: 8 bits a colour that do not compress, in base64."""


def thumbnail(picture: Image.Image) -> str:
    """A small copy of an RGB picture as the text of a data URI; one that is small already keeps its pixels."""
    return HEAD + _encoded(picture, SIDE, "PNG")


def photograph(picture: Image.Image, side: int) -> str:
    """A larger copy that takes fewer letters where the picture is a photograph; a small picture keeps its pixels."""
    if max(picture.size) <= SIDE:
        return thumbnail(picture)
    return HEAD_OF_PHOTOGRAPH + _encoded(picture, side, "JPEG", quality=QUALITY)


def _encoded(picture: Image.Image, side: int, kind: str, **settings: int) -> str:
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format=kind, **settings)
    return b64encode(buffer.getvalue()).decode("ascii")
