"""What the first bytes of an image say: its format and its size, before any decoder sees them.

The content decides, never the extension. Refusals are as in `image_files`.
"""

import struct
from typing import Literal, TypeAlias

from unspoken.errors import DataError

MAX_PIXELS = 50_000_000
"""Pixels an image may have, by its header."""

ImageFormat: TypeAlias = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]

_ALLOWED: dict[bytes, ImageFormat] = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_REFUSED = {
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript document",
    b"\xc5\xd0\xd3\xc6": "a PostScript document",
    b"8BPS": "a Photoshop document",
    b"\0\0\1\0": "an icon",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"PK\3\4": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
}
_ADVICE = "give a JPEG, PNG, WebP, GIF, BMP or TIFF"


def image_format(data: bytes) -> ImageFormat:
    """The format of an image file.

    Raises:
        DataError: It is none of those that are read; the message says what it is where that is known.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for signature, kind in _ALLOWED.items():
        if data.startswith(signature):
            return kind
    for signature, words in _REFUSED.items():
        if data.startswith(signature):
            raise DataError(f"its content is {words}, not an image that is read here; {_ADVICE}")
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("ascii", "replace")
        raise DataError(f"its content is a HEIC or AVIF image or a video (brand {brand!r}); {_ADVICE}")
    start = data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs"):
        raise DataError("its content is a Git LFS pointer, not the image; run git lfs pull in the data folder")
    if b"<svg" in start:
        raise DataError(f"its content is an SVG drawing; {_ADVICE}")
    if start.startswith((b"<!doctype html", b"<html")):
        raise DataError("its content is an HTML page, perhaps the error page of a download; download it again")
    raise DataError(f"its content is no image that is read here (it begins with {data[:16]!r}); {_ADVICE}")


def size_in_header(kind: ImageFormat, data: bytes) -> tuple[int, int] | None:
    """Width and height by the header, or None where only the decoder can tell: JPEG, TIFF, a header cut off."""
    try:
        match kind:
            case "PNG" if data[12:16] == b"IHDR":
                return _two(">II", data, 16)
            case "GIF":
                return _two("<HH", data, 6)
            case "BMP" if data[14:18] == b"\x0c\0\0\0":
                return _two("<HH", data, 18)
            case "BMP":
                width, height = _two("<ii", data, 18)
                return width, abs(height)  # a negative height: the rows begin at the top
            case "WEBP":
                return _size_of_webp(data)
    except struct.error:
        return None
    return None


def refuse_size(size: tuple[int, int], limit: int) -> None:
    """Check a size against the limit of pixels.

    Raises:
        DataError: A side is not positive, or there are more than `limit` pixels.
    """
    width, height = size
    if width <= 0 or height <= 0:
        raise DataError(f"its header says {width:,} x {height:,} pixels, which is no picture; make the file again")
    if width * height > limit:
        raise DataError(
            f"its header says {width:,} x {height:,} = {width * height:,} pixels, more than the {limit:,} allowed; "
            "scale it down"
        )


def _size_of_webp(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8X":  # two numbers of 24 bits, each one less than the side
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        case b"VP8L":  # 14 bits each
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":  # the upper two of the 16 bits ask for scaling
            width, height = _two("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    return None


def _two(layout: str, data: bytes, offset: int) -> tuple[int, int]:
    first, second = struct.unpack_from(layout, data, offset)
    return int(first), int(second)
