"""Small copies of pictures, for pages that hold all they show."""

import io
from base64 import b64encode

from PIL import Image

SIDE = 96
"""Pixels on the longer side of a small copy."""
HEAD = "data:image/png;base64,"
MAX_LETTERS = 40_000
"""Letters of the longest small copy: 8 bits a colour that do not compress, in base64."""


def thumbnail(picture: Image.Image) -> str:
    """A small copy of an RGB picture as the text of a data URI; one that is small already keeps its pixels."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    return HEAD + b64encode(buffer.getvalue()).decode("ascii")
