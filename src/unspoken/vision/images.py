"""One image file: whether it can be used, found out without keeping its pixels; and its pixels, upright and in RGB.

What is in a file decides, not its extension: JPEG, PNG, WebP, GIF, BMP and TIFF with exactly one picture. Of a JPEG
that carries more behind it (a stereo pair, a gain map) the first is the picture. The size is judged by the header
before anything is decoded. No image is ever replaced, and none is decoded in part.

EXIF: orientations 1 to 8 are applied, none and 0 ("unknown") count as 1, any other is refused. EXIF data that cannot be
read counts as none, as everywhere pictures are shown, and `ImageFacts.remarks` says so. Colour profiles are not
applied, so a damaged one does no harm.
"""

import hashlib
import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from unspoken.errors import DataError
from unspoken.vision.image_files import MAX_BYTES, read_image_bytes
from unspoken.vision.image_headers import MAX_PIXELS, ImageFormat, image_format, refuse_size, size_in_header
from unspoken.vision.jpeg import check_jpeg, jpeg_layout
from unspoken.vision.pixels import refuse_unreadable_pixels, rgb
from unspoken.vision.png import check_png

# the classes themselves, not Image.open: it hides why a header was refused, and would look for other formats
_READERS: dict[ImageFormat, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
_PILLOW = threading.RLock()  # Pillow's settings belong to the process
_FIRST_ON_ITS_SIDE, _LAST_ORIENTATION = 5, 8
_UNREADABLE_EXIF = "its EXIF data cannot be read; it is taken as upright"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image file that can be used.

    Attributes:
        path: Where it really lies, symbolic links followed.
        sha256: Hex sha256 of its bytes; by it `open_image` knows the file again.
        num_bytes: How many bytes it has.
        format: By its content.
        width: Of the upright picture, as `open_image` gives it.
        height: Likewise.
        mode: How its pixels are stored, in Pillow's words.
        orientation: The EXIF orientation, 1 to 8; 1 is upright.
        remarks: What was found but does not matter for its use.
    """

    path: Path
    sha256: str
    num_bytes: int
    format: ImageFormat
    width: int
    height: int
    mode: str
    orientation: int = 1
    remarks: Sequence[str] = ()


def inspect_image(path: Path, limit: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> ImageFacts:
    """Whether an image file can be used: its header, and all its pixels decoded once and dropped.

    Args:
        path: The file, as `image_files.locate` gives it.
        limit: Pixels it may have.
        max_bytes: Bytes its file may have.

    Raises:
        DataError: It cannot be used: what is wrong, what was found and what to do, without the name.
    """
    data = read_image_bytes(path, max_bytes)
    kind = image_format(data)
    layout = jpeg_layout(data) if kind == "JPEG" else None
    if size := layout.size if layout else size_in_header(kind, data):
        refuse_size(size, limit)
    with _strict_pillow(limit), _decoding(kind, limit), _READERS[kind](io.BytesIO(data)) as picture:
        refuse_size(picture.size, limit)
        mode = picture.mode
        refuse_unreadable_pixels(picture, limit)
        if kind == "PNG":
            check_png(data)
            picture.load()  # its EXIF data may follow the pixels
        orientation, remarks = _orientation(picture)
        if layout:
            check_jpeg(data, layout)
        else:
            picture.load()
        width, height = picture.size
    if orientation >= _FIRST_ON_ITS_SIDE and kind != "TIFF":  # Pillow turns a TIFF, and only that, while it decodes it
        width, height = height, width
    return ImageFacts(path, _sha256(data), len(data), kind, width, height, mode, orientation, remarks)


def open_image(path: Path, facts: ImageFacts) -> Image.Image:
    """The picture in an image file, upright and in RGB (`pixels` says how each mode gets there).

    Args:
        path: The file, usually `facts.path`.
        facts: What `inspect_image` found in it.

    Raises:
        DataError: The file is not the one that was inspected: it is gone, or one of its bytes differs.
    """
    try:
        data = read_image_bytes(path, max(facts.num_bytes, MAX_BYTES))
        if len(data) != facts.num_bytes or _sha256(data) != facts.sha256:
            raise DataError("the file is not the one that was checked before; put that one back, or begin anew")
        limit = facts.width * facts.height
        with (
            _strict_pillow(limit),
            _decoding(facts.format, limit),
            _READERS[facts.format](io.BytesIO(data)) as picture,
        ):
            return rgb(picture, facts.orientation)
    except DataError as error:
        raise DataError(f"image {str(path)!r}: {error}") from error


def _orientation(picture: ImageFile.ImageFile) -> tuple[int, tuple[str, ...]]:
    """The EXIF orientation, and a remark if the EXIF data is damaged."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            if block := picture.info.get("exif"):
                Image.Exif().load(block)  # a JPEG has read it before, and kept its complaints to itself
            found = picture.getexif().get(ExifTags.Base.Orientation, 1)
        except Exception:  # whatever a damaged block makes its reader raise: the module says what follows
            return 1, (_UNREADABLE_EXIF,)
    if not (isinstance(found, int) and 0 <= found <= _LAST_ORIENTATION):
        raise DataError(f"its EXIF orientation is {found!r}, not one of 1 to 8; mend or remove its EXIF data")
    return found or 1, (_UNREADABLE_EXIF,) if warned else ()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _strict_pillow(limit: int) -> Iterator[None]:
    """Pillow with settings known here, whatever another library made of them; afterwards they are as before."""
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # every decision on a file is taken here, by what is in it
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


@contextmanager
def _decoding(kind: ImageFormat, limit: int) -> Iterator[None]:
    """Turn whatever a decoder raises over a damaged file into the refusal of that file."""
    try:
        yield
    except DataError:
        raise
    except Image.DecompressionBombError as error:  # what the header kept back, as a GIF whose frame is the larger one
        raise DataError(f"it unfolds to more pixels than the {limit:,} allowed ({error}); scale it down") from error
    except Exception as error:  # decoders raise anything from IndexError to zlib.error
        if "MAX_TEXT" in str(error):
            raise DataError(
                f"a text or profile in the {kind} unpacks to a size that only a bomb has ({error}); save it without"
            ) from error
        words = " ".join(str(error).split()).encode("ascii", "backslashreplace").decode()[:160]
        words = words or type(error).__name__
        raise DataError(f"its {kind} data is damaged or cut off ({words}); copy or download it again") from error
