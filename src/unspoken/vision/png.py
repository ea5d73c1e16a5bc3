"""Whether a PNG is whole. Pillow checks no sum of the pixel data, and leaves rows black that are not there."""

import struct
import zlib

from unspoken.errors import DataError

_AGAIN = "copy or download it again"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# x, y of the first pixel of each pass of an interlaced picture, and the steps to the next ones
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_WHOLE = ((0, 0, 1, 1),)
_STEP = 2**20


def check_png(data: bytes) -> None:
    """Check the sum of every chunk, that the end is there, and that the pixel data unpacks to all rows.

    Raises:
        DataError: One of these fails. What unpacking itself raises is not caught.
    """
    # PNG signature, then length and name of each chunk, its data and its sum
    view, position, unpacker, missing, kind = memoryview(data), 8, zlib.decompressobj(), _unpacked_size(data), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise DataError(f"its PNG data is cut off: the end chunk is missing; {_AGAIN}")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise DataError(f"its PNG data is cut off in the chunk at byte {position:,}; {_AGAIN}")
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise DataError(f"its PNG data is damaged: the sum of the chunk at byte {position:,} is wrong; {_AGAIN}")
        if kind == b"IDAT":
            rest = bytes(view[position + 8 : end - 4])
            while rest and missing > 0:  # in steps, for it may unpack to any size
                missing -= len(unpacker.decompress(rest, _STEP))
                rest = unpacker.unconsumed_tail
        position = end
    if missing > 0:
        raise DataError(f"its PNG data is cut off or damaged: {missing:,} bytes of its pixels are missing; {_AGAIN}")


def _unpacked_size(data: bytes) -> int:
    """Bytes of all rows: each is rounded up to whole bytes and has one more, for its filter."""
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    size = 0
    for x, y, step_x, step_y in _PASSES if interlaced else _WHOLE:
        columns, rows = -((x - width) // step_x), -((y - height) // step_y)
        if columns > 0:
            size += max(rows, 0) * (1 + (columns * bits * _CHANNELS[colour] + 7) // 8)
    return size
