"""Every picture as RGB, 8 bits a channel, upright.

    grey, black and white   the same value in all three channels
    16 bits a channel       the upper 8 bits of each: scaled, not clipped, grey and colour alike
    palette                 its colours
    CMYK                    plain inks, R = (1 - C)(1 - K); a colour profile is never applied, to no image
    alpha, transparency     laid on white

Modes with no such meaning (Lab, 32-bit integers, floats: their black and white are not in the file) are refused.
"""

from typing import Any

import numpy as np
from PIL import Image

from unspoken.errors import DataError

_GREY_16 = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LA", "La", "PA", "RGBA", "RGBa"}) | _GREY_16
_LAYERED = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
# what Pillow multiplies the samples of a grey PNG with, but not its transparent value
_GREY_STEP = {"L;2": 85, "L;4": 17}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# those whose decoder says when there is too little data; that of JPEG and fax makes up the rest
_TIFF_COMPRESSIONS = frozenset({"raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"})
_TIFF_KIND, _TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 254, 258, 262, 322, 323
_DNG_VERSION, _TIFF_PLANES, _SEPARATE_PLANES = 50706, 284, 2


def refuse_unreadable_pixels(image: Image.Image, limit: int) -> None:
    """Check, before it is decoded, that what `rgb` makes of a picture is what its file means.

    Raises:
        DataError: It has several pictures, a mode without a meaning in RGB, or a form that Pillow reads wrongly.
    """
    if getattr(image, "is_animated", False):
        words = "pages" if image.format == "TIFF" else "pictures (it is animated)"
        raise DataError(f"the {image.format} holds several {words}; save the one that is meant as its own file")
    if image.mode not in _MODES:
        raise DataError(
            f"its pixels are in mode {image.mode}, which has no plain meaning in RGB; save it as RGB or grey"
        )
    if image.format == "PNG":
        if image.mode == "P" and image.palette is None:
            raise DataError("the PNG has palette pixels but no palette; save it again")
        if image.mode == "RGB" and "transparency" in image.info and _raw_mode(image) == "RGB;16B":
            raise DataError("the PNG has 16-bit colours of which one is transparent; save it with an alpha channel")
    if image.format in ("PNG", "TIFF") and not _is_covered(image):
        raise DataError(f"the {image.format} has data for a part of its pixels only; copy or download it again")
    if image.format == "TIFF":
        if (compression := image.info.get("compression")) not in _TIFF_COMPRESSIONS:
            raise DataError(f"the TIFF is compressed by {compression}, where damage cannot be seen; save it as a PNG")
        _refuse_tiff(getattr(image, "tag_v2", {}), image.mode, limit)


def rgb(image: Image.Image, orientation: int) -> Image.Image:
    """A new picture as the table above says, with nothing but pixels: no EXIF data, no profile.

    Args:
        image: An opened image whose pixels are not decoded yet.
        orientation: Its EXIF orientation.
    """
    step = _GREY_STEP.get(_raw_mode(image), 1)
    image.load()
    # Pillow turns a TIFF while it decodes it
    turn = None if image.format == "TIFF" else _TURNS.get(orientation)
    upright = image.copy() if turn is None else image.transpose(turn)
    transparency = upright.info.get("transparency")
    if upright.mode in _GREY_16:
        picture = _of_grey_16(upright, transparency)
    elif upright.mode in _LAYERED or transparency is not None:
        if upright.mode == "L" and isinstance(transparency, int):
            upright.info["transparency"] = transparency * step
        picture = _on_white(upright.convert("RGBA"))
    else:
        picture = upright.convert("RGB")
    picture.info = {}
    return picture


def _raw_mode(image: Image.Image) -> str:
    """How the file packs its pixels, in Pillow's words; only known before they are decoded."""
    tiles: list[Any] = getattr(image, "tile", [])
    return str(tiles[0][3]) if tiles else ""


def _is_covered(image: Image.Image) -> bool:
    """Whether the pieces that will be decoded make up the whole picture; Pillow leaves the rest black."""
    pieces: list[Any] = getattr(image, "tile", [])
    planes = getattr(image, "tag_v2", {}).get(_TIFF_PLANES, 1) == _SEPARATE_PLANES and len(pieces) > 1
    area: int = sum((right - left) * (bottom - top) for _, (left, top, right, bottom), *_ in pieces)
    needed = image.width * image.height * (len(image.getbands()) if planes else 1)
    return area >= needed


def _of_grey_16(image: Image.Image, transparent: object) -> Image.Image:
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _refuse_tiff(tags: Any, mode: str, limit: int) -> None:
    kind = tags.get(_TIFF_KIND, 0)
    if _DNG_VERSION in tags or (isinstance(kind, int) and kind & 1):
        raise DataError("the TIFF shows only a preview of a larger picture (a camera's raw file); export that picture")
    if mode in _GREY_16 and (tags.get(_TIFF_BITS) != (16,) or tags.get(_TIFF_PHOTOMETRIC) == 0):
        raise DataError(
            "the TIFF has grey of 12 bits, or of 16 bits where 0 is white; save it as an 8-bit or 16-bit PNG"
        )
    # the decoder makes room for one whole tile, even if the picture fills a corner of it
    width, height = (tags.get(tag, 1) for tag in (_TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT))
    if not (isinstance(width, int) and isinstance(height, int) and 0 < width * height <= limit):
        raise DataError(
            f"the TIFF has tiles of {width} x {height} pixels, more than the {limit:,} allowed; save it again"
        )
