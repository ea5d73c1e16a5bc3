"""Whether a JPEG is whole. Pillow fills what is missing with grey and says nothing, so it is found out here.

A JPEG holds no checksum. What can be known is whether the pixels need exactly the data that is there:

- too little data: bytes put behind every piece of it would be read, and change the picture;
- too much: the picture is finished before the last bytes were asked for (seen only where one scan holds all).

Damage that still decodes to the right number of blocks cannot be seen by anyone.
"""

import io
import re
import zlib
from dataclasses import dataclass

from PIL import Image, JpegImagePlugin

from unspoken.errors import DataError

MAX_SCANS = 100
"""Scans a progressive JPEG may have (usual: 10); each costs a pass over all pixels, however few bytes it has."""

_SPARE = 8
"""Bytes that may be left over at the end: some cameras and programs align the data."""

_MARKER = re.compile(rb"\xff+([\x01-\xfe])")  # FF 00 is data
_BEHIND = bytes.fromhex("b56a932d6c5a1e97") * 2  # neither all ones nor all zeros, both of which often change nothing
_END, _SCAN = 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_RESTARTS = range(0xD0, 0xD8)
_WITHOUT_LENGTH = frozenset((0x01, 0xD8, *_RESTARTS))
_AGAIN = "copy or download it again"


@dataclass(frozen=True, slots=True)
class JpegLayout:
    """Where the parts of a JPEG lie.

    Attributes:
        size: Width and height in the header.
        last_scan: Where the data of the last scan begins.
        ends: Where each piece of pixel data ends: at a restart marker or at the end of its scan.
        end: Where the picture ends; what follows (a preview, a gain map) does not belong to it.
    """

    size: tuple[int, int]
    last_scan: int
    ends: tuple[int, ...]
    end: int


def jpeg_layout(data: bytes) -> JpegLayout:
    """Walk over the markers of a JPEG without decoding it.

    Raises:
        DataError: It is cut off, has no pixel data, too many scans, or restart markers out of order.
    """
    position, size, last_scan, scans, restart, in_scan = 2, (0, 0), 0, 0, 0, False
    ends: list[int] = []
    while True:
        found = _MARKER.search(data, position)
        if found is None:
            raise DataError(f"its JPEG data is cut off: the end marker is missing; {_AGAIN}")
        code, position = found[1][0], found.end()
        if in_scan:
            ends.append(found.start())
            restart = _next_restart(code, restart)
        if code == _END:
            break
        if code in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        if length < 2 or position + length > len(data):
            raise DataError(f"its JPEG data is cut off or damaged at byte {position:,}; {_AGAIN}")
        if code in _FRAMES:
            height, width = (int.from_bytes(data[position + at : position + at + 2], "big") for at in (3, 5))
            size = width, height
        position += length
        in_scan = code == _SCAN
        if in_scan:
            last_scan, restart, scans = position, 0, scans + 1
        if scans > MAX_SCANS:
            raise DataError(f"its JPEG data has more than {MAX_SCANS} scans, as no camera writes; save it again")
    if not scans:
        raise DataError(f"its JPEG data holds no pixels; {_AGAIN}")
    return JpegLayout(size, last_scan, tuple(ends), position)


def check_jpeg(data: bytes, layout: JpegLayout) -> None:
    """Decode a JPEG twice, the second time with bytes behind each piece of data.

    Raises:
        DataError: It has less or more data than its pixels need. What the decoder itself raises is not caught.
    """
    stream = _Watched(data, max(layout.last_scan, layout.ends[-1] - _SPARE))
    as_it_is = _fingerprint(stream)
    if not stream.was_asked_for_the_rest:
        raise DataError(f"its JPEG data is damaged: data is left over behind the last pixel; {_AGAIN}")
    pieces = [data[start:end] for start, end in zip((0, *layout.ends), (*layout.ends, layout.end), strict=True)]
    if _fingerprint(io.BytesIO(_BEHIND.join(pieces))) != as_it_is:
        raise DataError(f"its JPEG data is damaged or cut off: there is less of it than the pixels need; {_AGAIN}")


def _next_restart(code: int, expected: int) -> int:
    if code not in _RESTARTS:
        return expected
    if code != _RESTARTS[expected]:
        raise DataError(f"its JPEG data is damaged: a restart marker is out of order; {_AGAIN}")
    return (expected + 1) % len(_RESTARTS)


class _Watched(io.BytesIO):
    """Bytes of which the last ones, from `rest` on, are only given when they are asked for on their own."""

    def __init__(self, data: bytes, rest: int) -> None:
        super().__init__(data)
        self.was_asked_for_the_rest = False
        self._rest = rest

    def read(self, size: int | None = -1, /) -> bytes:
        before = self._rest - self.tell()
        if size is None or size < 0 or before <= 0:
            self.was_asked_for_the_rest = True
            return super().read(size)
        return super().read(min(size, before))


def _fingerprint(stream: io.BytesIO) -> int:
    """A checksum of the pixels, taken in strips: two pictures never lie in memory together."""
    checksum = 0
    with JpegImagePlugin.JpegImageFile(stream) as image:
        for top in range(0, image.height, 256):
            strip: Image.Image = image.crop((0, top, image.width, min(top + 256, image.height)))
            checksum = zlib.crc32(strip.tobytes(), checksum)
    return checksum
