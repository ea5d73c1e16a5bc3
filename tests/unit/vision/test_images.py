"""Images of a data set: whatever is wrong with a file is said with its row; whatever is right comes out right."""

import hashlib
import io
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile

from unspoken.errors import DataError
from unspoken.vision import images
from unspoken.vision import preflight as preflight_module
from unspoken.vision.image_files import locate
from unspoken.vision.images import inspect_image, open_image
from unspoken.vision.preflight import preflight

# ---- making files


def noise(height=48, width=64, channels=3, seed=0):
    """Smooth colours with some noise: a JPEG of it has data in every block."""
    ramp = np.add.outer(np.arange(height) * 3, np.arange(width) * 2)[..., None] + np.arange(channels) * 40
    values = ramp % 200 + np.random.default_rng(seed).integers(0, 40, (height, width, channels))
    return values.astype(np.uint8)


def encoded(image, kind, **options):
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits, colour, rows, *, before=b"", after=b"", interlaced=0):
    """A PNG from its packed rows, without the help of the library under test."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + before + data + after + chunk(b"IEND", b"")


def exif(orientation):
    data = Image.Exif()
    data[ExifTags.Base.Orientation] = orientation
    return data.tobytes()


def frames(n):
    return [Image.fromarray(noise(seed=seed)) for seed in range(n)]


def animated(kind, **options):
    first, *others = frames(3)
    return encoded(first, kind, save_all=True, append_images=others, **options)


def patched(data, offset, new):
    return data[:offset] + new + data[offset + len(new) :]


JPEG = encoded(noise(), "JPEG", quality=90)
PNG = encoded(noise(), "PNG")
SCAN = JPEG.index(b"\xff\xda") + 14
GREY_ROWS = [bytes([10, 20, 30])] * 2


def jpeg_of_size(width, height):
    frame = JPEG.index(b"\xff\xc0") + 5
    return patched(JPEG, frame, struct.pack(">HH", height, width))


def tiff_with(tag, value, rows_per_strip=2):
    """A grey TIFF of 3 x 2 pixels in which one tag has this value."""
    tags = {256: 3, 257: 2, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: rows_per_strip, 279: 6} | {tag: value}
    entries = b"".join(struct.pack("<HHII", *entry) for entry in ((key, 4, 1, tags[key]) for key in sorted(tags)))
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 14) + b"".join(GREY_ROWS) + directory


def partial_frame():
    """A PNG of one frame whose place in the picture is a corner of it."""
    frame = struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 1, 0, 0)
    before = chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", frame)
    return png(3, 2, 8, 0, GREY_ROWS, before=before)


def bomb(width=30_000, height=30_000):
    """One colour: 900 million pixels in about 100 kB."""
    packer = zlib.compressobj()
    row = b"\0" * (width // 8 + 1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def webp_header(width, height):
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0"
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def broken_huffman_table():
    """More codes of one bit than there can be."""
    return patched(JPEG, JPEG.index(b"\xff\xc4") + 5, bytes([9] * 4))


def many_scans():
    data = encoded(noise(), "JPEG", progressive=True)
    scan = data.index(b"\xff\xda")
    end = data.index(b"\xff\xda", scan + 2)
    return data[:scan] + data[scan:end] * 200 + data[end:]


WHITE_IS_ONE, WHITE_IS_ZERO = (struct.pack("<HHIHH", 262, 3, 1, value, 0) for value in (1, 0))
TEXT_BOMB = zlib.compress(b"a" * 20_000_000)
BAD_CONTENT = {
    "empty.jpg": (b"", "0 bytes"),
    "cut.jpg": (JPEG[: len(JPEG) // 2], "cut off"),
    "cut_and_closed.jpg": (JPEG[: SCAN + (len(JPEG) - SCAN) // 2] + b"\xff\xd9", "less of it than the pixels need"),
    "without_end.jpg": (JPEG[:-2], "end marker is missing"),
    "overwritten.jpg": (patched(JPEG, SCAN + 200, bytes(range(200)) * 2), "JPEG data is damaged"),
    "huffman_table.jpg": (broken_huffman_table(), "JPEG data is damaged"),
    "many_scans.jpg": (many_scans(), "more than 100 scans"),
    "no_pixels.jpg": (JPEG[: SCAN - 14] + b"\xff\xd9", "holds no pixels"),
    "cut.png": (PNG[: len(PNG) // 2], "cut off in the chunk at byte 33"),
    "without_end.png": (PNG[:-12], "end chunk is missing"),
    "wrong_sum.png": (patched(PNG, len(PNG) - 14, b"\0\0"), "sum of the chunk at byte"),
    "too_few_rows.png": (png(3, 9, 8, 0, GREY_ROWS), "28 bytes of its pixels are missing"),
    "no_palette.png": (png(3, 2, 8, 3, GREY_ROWS), "no palette"),
    "ztxt.png": (
        png(3, 2, 8, 0, GREY_ROWS, before=chunk(b"zTXt", b"k\0\0" + TEXT_BOMB)),
        "unpacks to a size that only a bomb has",
    ),
    "ztxt_after.png": (
        png(3, 2, 8, 0, GREY_ROWS, after=chunk(b"zTXt", b"k\0\0" + TEXT_BOMB)),
        "unpacks to a size that only a bomb has",
    ),
    "itxt.png": (
        png(3, 2, 8, 0, GREY_ROWS, before=chunk(b"iTXt", b"k\0\1\0\0\0" + TEXT_BOMB)),
        "unpacks to a size that only a bomb has",
    ),
    "iccp.png": (
        png(3, 2, 8, 0, GREY_ROWS, before=chunk(b"iCCP", b"k\0\0" + TEXT_BOMB)),
        "unpacks to a size that only a bomb has",
    ),
    "cut.gif": (encoded(noise(), "GIF")[:1500], "GIF data is damaged or cut off"),
    "cut.webp": (encoded(noise(), "WEBP")[:-40], "WEBP data is damaged or cut off"),
    "cut.bmp": (encoded(noise(), "BMP")[:-40], "BMP data is damaged or cut off"),
    "cut.tif": (encoded(noise(), "TIFF")[:-40], "TIFF data is damaged or cut off"),
    "missing_strips.tif": (tiff_with(257, 5, rows_per_strip=1), "data for a part of its pixels only"),
    "partial_frame.png": (partial_frame(), "data for a part of its pixels only"),
    "cut_deflate.tif": (encoded(noise(), "TIFF", compression="tiff_deflate")[:300], "TIFF data is damaged or cut off"),
    "text.jpg": (b"This is not an image.\n", "no image that is read here (it begins with b'This is"),
    "page.jpg": (b"<!DOCTYPE html><html><body>404</body></html>", "HTML page"),
    "drawing.svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "paper.pdf": (b"%PDF-1.7\n", "PDF"),
    "figure.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
    "icon.ico": (encoded(noise(), "ICO"), "icon"),
    "picture.jp2": (encoded(noise(), "JPEG2000"), "JPEG 2000"),
    "picture.avif": (encoded(noise(), "AVIF"), "HEIC or AVIF"),
    "archive.jpg": (b"PK\3\4" + bytes(50), "zip archive"),
    "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "portable.ppm": (encoded(noise(), "PPM"), "no image that is read here"),
    "bomb.png": (bomb(), "30,000 x 30,000 = 900,000,000 pixels, more than the 50,000,000"),
    "bomb.jpg": (jpeg_of_size(65_000, 65_000), "65,000 x 65,000"),
    "bomb.gif": (patched(encoded(noise(), "GIF"), 6, struct.pack("<HH", 60_000, 60_000)), "60,000 x 60,000"),
    "bomb_frame.gif": (
        (gif := encoded(noise(), "GIF")) and patched(gif, gif.index(b",\0\0\0\0\x40\0\x30\0") + 5, b"\xff\xff\xff\xff"),
        "unfolds to more pixels than the 50,000,000 allowed",
    ),
    "bomb.webp": (webp_header(16_000, 16_000), "16,000 x 16,000"),
    "bomb.bmp": (patched(encoded(noise(), "BMP"), 18, struct.pack("<ii", 50_000, -50_000)), "50,000 x 50,000"),
    "bomb.tif": (tiff_with(256, 2**31 - 1), "2,147,483,647 x 2"),
    "tiles.tif": (tiff_with(322, 200_000_000), "tiles of 200000000 x"),
    "zero.png": (png(0, 5, 8, 0, []), "0 x 5 pixels, which is no picture"),
    "zero.jpg": (jpeg_of_size(64, 0), "64 x 0 pixels"),
    "zero.gif": (patched(encoded(noise(), "GIF"), 6, struct.pack("<HH", 0, 7)), "0 x 7 pixels"),
    "minus.bmp": (patched(encoded(noise(), "BMP"), 18, struct.pack("<i", -5)), "-5 x 48 pixels"),
    "wide.png": (png(2**31, 1, 8, 0, []), "2,147,483,648 x 1"),
    "animated.gif": (animated("GIF"), "several pictures (it is animated)"),
    "animated.png": (animated("PNG"), "several pictures (it is animated)"),
    "animated.webp": (animated("WEBP"), "several pictures (it is animated)"),
    "pages.tif": (animated("TIFF"), "several pages"),
    "preview.tif": (tiff_with(254, 1), "preview of a larger picture"),
    "orientation_99.jpg": (encoded(noise(), "JPEG", exif=exif(99)), "EXIF orientation is 99"),
    "orientation_9.png": (encoded(noise(), "PNG", exif=exif(9)), "EXIF orientation is 9"),
    "orientation_99.tif": (tiff_with(274, 99), "EXIF orientation is 99"),
    "jpeg.tif": (encoded(noise(), "TIFF", compression="jpeg"), "compressed by jpeg, where damage cannot be seen"),
    "fax.tif": (encoded(Image.new("1", (8, 8)), "TIFF", compression="group4"), "compressed by group4"),
    "float.tif": (encoded(Image.new("F", (8, 8)), "TIFF"), "mode F"),
    "integer.tif": (encoded(Image.new("I", (8, 8)), "TIFF"), "mode I,"),
    "lab.tif": (encoded(Image.new("LAB", (8, 8)), "TIFF"), "mode LAB"),
    "white_is_zero_16.tif": (
        encoded(Image.fromarray(np.zeros((4, 4), np.uint16)), "TIFF").replace(WHITE_IS_ONE, WHITE_IS_ZERO),
        "0 is white",
    ),
    "transparent_16.png": (
        png(1, 1, 16, 2, [bytes(6)], before=chunk(b"tRNS", bytes(6))),
        "16-bit colours of which one is transparent",
    ),
}
BAD_NAMES = {
    "missing.jpg": "does not exist",
    "folder": "it is a folder",
    "good.png/inner.jpg": "does not exist",
    "http://example.org/cat.jpg": "it is a URL",
    "https://example.org/cat.jpg": "it is a URL",
    "s3://bucket/cat.jpg": "it is a URL",
    "file:///etc/hostname": "it is a URL",
    "data:image/png;base64,iVBORw0KGgo=": "it is a URL",
    "//host/cat.jpg": "it is a URL",
    "../outside.png": "outside of the data folder",
    "folder/../../outside.png": "outside of the data folder",
    "/etc/hostname": "outside of the data folder",
    "link_outside.png": "a symbolic link leads outside",
    "folder_outside/outside.png": "a symbolic link leads outside",
    "link_to_nothing.png": "does not exist",
    "link_to_itself.png": "cannot be read (Too many levels",
    "pipe.jpg": "it is a pipe",
    "socket.jpg": "it is a socket",
    "zero.jpg\0.png": "NUL",
    "n" * 256 + ".jpg": "too long",
    "folder/" * 700 + "a.jpg": "too long",
    "\ud800.jpg": "cannot be a file name",
    "": "empty",
    "  ": "empty",
    "large.png": "104,857,601 bytes, more than the 104,857,600 allowed",
}


@pytest.fixture
def folder(tmp_path):
    """A data folder with one good image and everything that may lie around."""
    root = tmp_path / "data"
    (root / "folder").mkdir(parents=True)
    (root / "good.png").write_bytes(PNG)
    (tmp_path / "outside.png").write_bytes(PNG)
    (root / "link_outside.png").symlink_to(tmp_path / "outside.png")
    (root / "folder_outside").symlink_to(tmp_path)
    (root / "link_to_nothing.png").symlink_to(root / "nothing.png")
    (root / "link_to_itself.png").symlink_to(root / "link_to_itself.png")
    os.mkfifo(root / "pipe.jpg")
    here = Path.cwd()
    os.chdir(root)  # the address of a socket must be short
    with socket.socket(socket.AF_UNIX) as address:
        address.bind("socket.jpg")
    os.chdir(here)
    with (root / "large.png").open("wb") as file:
        file.truncate(100 * 2**20 + 1)
    return root


def write(root, name, data):
    path = root / name
    path.write_bytes(data)
    return path


def facts_of(path, root=None, **options):
    return inspect_image(locate(path, root), **options)


def pixels_of(path):
    picture = open_image(path, facts_of(path))
    assert picture.mode == "RGB"
    return np.asarray(picture)


def reason_of(name, root=None, **options):
    with pytest.raises(DataError) as problem:
        inspect_image(locate(name, root), **options)
    return str(problem.value)


# ---- bad images


@pytest.mark.parametrize("name", BAD_CONTENT)
def test_a_file_with_bad_content_is_refused_with_its_reason(folder, name):
    data, expected = BAD_CONTENT[name]
    write(folder, name, data)
    reason = reason_of(name, folder)
    assert expected in reason
    assert "; " in reason, "it says what to do"


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name[:30]))
def test_a_bad_name_is_refused_with_its_reason(folder, name):
    reason = reason_of(name, folder)
    assert BAD_NAMES[name] in reason
    assert "; " in reason, "it says what to do"


def test_every_bad_image_is_named_once_with_its_row_in_one_error(folder):
    for name, (data, _) in BAD_CONTENT.items():
        write(folder, f"content_{name}", data)
    expected = {f"content_{name}": reason for name, (_, reason) in BAD_CONTENT.items()} | BAD_NAMES
    rows = [(f"q{number}", name) for number, name in enumerate(expected)] + [("fine", "good.png")]
    with pytest.raises(DataError) as caught:
        preflight(rows, folder, max_lines=1000)
    first, *lines = str(caught.value).split("\n  ")
    assert len(lines) == len(expected) >= 80
    assert first.startswith(f"{len(expected)} of {len(rows)} images of the data folder")
    for (row, name), line in zip(rows, lines, strict=False):
        shown = repr(name) if len(name) <= 120 else repr(name)[:50]
        assert line.startswith(shown)
        assert f"(row '{row}'): " in line
        assert expected[name] in line
        assert line.isprintable()


def test_an_error_lists_a_limited_number_of_files_and_rows_and_counts_the_others(tmp_path):
    rows = [(f"q{number}", f"{number % 7}.jpg") for number in range(70)]
    with pytest.raises(DataError) as caught:
        preflight(rows, tmp_path, max_lines=5)
    lines = str(caught.value).split("\n  ")
    assert lines[0].startswith("7 of 7 images")
    assert lines[1].startswith("'0.jpg' (rows 'q0', 'q7', 'q14' and 7 more): the file does not exist; ")
    assert lines[-1] == "and 2 more"
    assert len(lines) == 7


def test_a_file_that_this_user_may_not_read_is_refused():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        path = write(root, "secret.png", PNG)
        path.chmod(0)
        user = os.geteuid()
        if user == 0:  # root may read everything
            os.seteuid(65534)
        try:
            reason = reason_of("secret.png", root)
        finally:
            os.seteuid(user)
    assert "may not be read; give this user the permission" in reason


def test_a_device_is_refused_without_reading_from_it():
    assert "it is a device" in reason_of("/dev/zero")


def test_a_pipe_that_takes_the_place_of_a_file_does_not_make_the_check_wait(folder, monkeypatch):
    regular = (folder / "good.png").stat()
    monkeypatch.setattr(Path, "stat", lambda self, **options: regular)
    assert "it is a pipe" in reason_of("pipe.jpg", folder)


def test_the_extension_does_not_decide(tmp_path):
    assert facts_of(write(tmp_path, "photo.jpg", PNG)).format == "PNG"
    assert facts_of(write(tmp_path, "photo.html", JPEG)).format == "JPEG"


def test_limits_are_exact_and_can_be_set(folder):
    path = folder / "good.png"
    assert facts_of(path, limit=48 * 64, max_bytes=len(PNG)).width == 64
    assert "3,072 pixels, more than the 3,071 allowed" in reason_of(path, limit=48 * 64 - 1)
    assert f"{len(PNG):,} bytes, more than the" in reason_of(path, max_bytes=len(PNG) - 1)


def test_paths_inside_the_data_folder_are_accepted_in_every_spelling(folder):
    (folder / "link.png").symlink_to("good.png")
    (folder.parent / "other_name").symlink_to(folder)
    for name in ("good.png", "./good.png", "folder/../good.png", "link.png", str(folder / "good.png")):
        assert facts_of(name, folder).path == folder.resolve() / "good.png"
    assert facts_of(folder.parent / "other_name" / "good.png", folder.parent / "other_name").path.name == "good.png"
    assert facts_of(folder / "good.png", folder.parent / "other_name").path.name == "good.png"


def test_a_folder_whose_name_only_begins_like_the_data_folder_is_outside(folder):
    (folder.parent / "data2").mkdir()
    write(folder.parent / "data2", "a.png", PNG)
    assert "outside" in reason_of("../data2/a.png", folder)


def test_a_data_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        preflight([("a", "a.png")], tmp_path / "nothing")


@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 100}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0, "optimize": True}],
    ids=str,
)
def test_a_jpeg_is_good_whole_and_bad_when_cut_anywhere_and_closed(tmp_path, options):
    data = encoded(noise(), "JPEG", **options)
    facts_of(write(tmp_path, "whole.jpg", data))
    facts_of(write(tmp_path, "padded.jpg", data + bytes(4000)))
    start = data.index(b"\xff\xda") + 14
    for cut in range(start, len(data) - 12, 97):
        reason = reason_of(write(tmp_path, "cut.jpg", data[:cut].rstrip(b"\xff") + b"\xff\xd9"))
        assert "damaged or cut off" in reason or "cut off or damaged" in reason


def test_a_few_bytes_that_align_the_end_of_a_jpeg_are_no_damage_but_many_are(tmp_path):
    plain = pixels_of(write(tmp_path, "plain.jpg", JPEG))
    aligned = write(tmp_path, "aligned.jpg", JPEG[:-2] + bytes(7) + b"\xff\xd9")
    np.testing.assert_array_equal(pixels_of(aligned), plain)
    assert "left over" in reason_of(write(tmp_path, "more.jpg", JPEG[:-2] + bytes(40) + b"\xff\xd9"))


def test_a_restart_marker_out_of_order_is_refused(tmp_path):
    data = encoded(noise(), "JPEG", restart_marker_rows=1)
    swapped = data.replace(b"\xff\xd1", b"\xff\xd3")
    assert "restart marker is out of order" in reason_of(write(tmp_path, "a.jpg", swapped))


CUT = [
    ("PNG", {}),
    ("GIF", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "packbits"}),
    ("TIFF", {"compression": "tiff_deflate"}),
]


@pytest.mark.parametrize(("kind", "options"), CUT, ids=str)
def test_a_file_cut_anywhere_is_refused_or_shows_the_same_pixels(tmp_path, kind, options):
    data = encoded(noise(24, 32), kind, **options)
    whole = pixels_of(write(tmp_path, "whole", data))
    refused = 0
    cuts = range(1, len(data), max(1, len(data) // 60))
    for cut in cuts:
        path = write(tmp_path, "cut", data[:cut])
        try:
            facts = inspect_image(path)
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(np.asarray(open_image(path, facts)), whole)
    assert refused > 0.9 * len(cuts)


def test_whatever_is_changed_in_a_file_it_is_refused_in_one_line_or_opens_in_its_size(tmp_path):
    chance = random.Random(0)
    small = noise(24, 32)
    sound = [encoded(small, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")]
    sound += [encoded(small, "JPEG", progressive=True, exif=exif(6)), encoded(small, "TIFF", compression="tiff_lzw")]
    for number in range(800):
        data = bytearray(sound[number % len(sound)])
        for _ in range(chance.choice([1, 2, 20])):
            data[chance.randrange(chance.choice([30, 200, len(data)]))] = chance.choice([0, 1, 127, 128, 255])
        path = write(tmp_path, "a", data)
        reason = ""
        try:
            found = inspect_image(path)
        except DataError as error:
            reason = str(error)
        if reason:
            assert reason.isprintable()
            assert "; " in reason
            assert len(reason) < 400
        else:
            picture = open_image(path, found)
            assert (picture.mode, picture.size) == ("RGB", (found.width, found.height))


# ---- bombs


def test_a_bomb_is_refused_within_a_second_and_without_its_memory(tmp_path):
    path = write(tmp_path, "bomb.png", bomb())
    tracemalloc.start()
    start = time.process_time()
    reason = reason_of(path)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "900,000,000" in reason
    assert seconds < 1
    assert peak < 5_000_000


def test_bombs_of_every_format_need_no_memory_outside_of_python_either(tmp_path):
    names = [name for name in BAD_CONTENT if name.startswith(("bomb", "tiles", "ztxt", "itxt", "iccp"))]
    for name in names:
        write(tmp_path, name, BAD_CONTENT[name][0])
    code = f"""
import resource
from pathlib import Path
from unspoken.errors import DataError
from unspoken.vision.images import inspect_image

def refused(name):
    try:
        inspect_image(Path(name))
    except DataError:
        return True

assert refused("nothing")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert all(map(refused, {names}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(names) == 12
    assert int(run.stdout) < 30_000  # kB


# ---- good images


def test_a_plain_image_keeps_its_pixels_in_every_format_without_loss(tmp_path):
    expected = noise()
    for kind, options in [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("WEBP", {"lossless": True}),
    ]:
        path = write(tmp_path, "a", encoded(expected, kind, **options))
        np.testing.assert_array_equal(pixels_of(path), expected)
        facts = facts_of(path)
        assert (facts.format, facts.width, facts.height, facts.mode) == (kind, 64, 48, "RGB")
        assert (facts.orientation, facts.remarks) == (1, ())
        assert facts.num_bytes == path.stat().st_size
        assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_jpeg_shows_what_its_decoder_shows(tmp_path):
    path = write(tmp_path, "a.jpg", JPEG)
    shown = pixels_of(path)
    np.testing.assert_array_equal(shown, np.asarray(Image.open(path)))
    assert np.abs(shown.astype(int) - noise()).mean() < 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_orientation_is_applied_once(tmp_path, kind, orientation):
    # how a camera stored a picture, by the meaning of each orientation: where its first row and first column are
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16], upright[:8, 16:], upright[8:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    path = write(tmp_path, "a", encoded(np.ascontiguousarray(stored), kind, exif=exif(orientation), **options))
    facts = facts_of(path)
    assert (facts.orientation, facts.width, facts.height) == (orientation, 32, 16)
    np.testing.assert_allclose(pixels_of(path).astype(int), upright, atol=3 if kind == "JPEG" else 0)


def test_an_opened_image_carries_no_orientation_that_could_be_applied_again(tmp_path):
    path = write(tmp_path, "a.png", encoded(noise(), "PNG", exif=exif(6)))
    picture = open_image(path, facts_of(path))
    assert not picture.info
    assert ExifTags.Base.Orientation not in picture.getexif()


def test_an_unknown_orientation_is_upright_and_a_damaged_exif_block_is_remarked(tmp_path):
    zero = write(tmp_path, "zero.jpg", encoded(noise(), "JPEG", exif=exif(0)))
    assert (facts_of(zero).orientation, facts_of(zero).remarks) == (1, ())
    damaged = write(tmp_path, "damaged.jpg", encoded(noise(), "JPEG", exif=b"Exif\0\0 this is no EXIF data"))
    assert facts_of(damaged).remarks == ("its EXIF data cannot be read; it is taken as upright",)
    np.testing.assert_array_equal(pixels_of(damaged), pixels_of(zero))


def test_a_damaged_colour_profile_changes_nothing(tmp_path):
    plain = pixels_of(write(tmp_path, "plain.jpg", JPEG))
    garbage = write(tmp_path, "garbage.jpg", encoded(noise(), "JPEG", quality=90, icc_profile=b"garbage" * 99))
    np.testing.assert_array_equal(pixels_of(garbage), plain)
    data = png(3, 2, 8, 0, GREY_ROWS, before=chunk(b"iCCP", b"k\0\0garbage"))
    np.testing.assert_array_equal(pixels_of(write(tmp_path, "a.png", data))[..., 0], [[10, 20, 30]] * 2)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_becomes_the_colours_of_its_inks(tmp_path, kind):
    inks = np.zeros((16, 80, 4), np.uint8)
    colours = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255), (0, 128, 0, 100)]
    expected = np.zeros((16, 80, 3))
    for number, (*cmy, key) in enumerate(colours):
        inks[:, number * 16 : number * 16 + 16] = (*cmy, key)
        expected[:, number * 16 : number * 16 + 16] = [(255 - ink) * (255 - key) / 255 for ink in cmy]
    options = {"quality": 100} if kind == "JPEG" else {}
    path = write(tmp_path, "a", encoded(Image.fromarray(inks, "CMYK"), kind, **options))
    assert facts_of(path).mode == "CMYK"
    np.testing.assert_allclose(pixels_of(path), expected, atol=3)


def test_16_bit_grey_is_scaled_and_not_clipped_and_agrees_with_16_bit_colour(tmp_path):
    values = np.array([[0, 255, 256, 0x1234], [0x7FFF, 0x8000, 0xFF00, 0xFFFF]], np.uint16)
    expected = np.repeat((values >> 8).astype(np.uint8)[..., None], 3, -1)
    rows = [row.astype(">u2").tobytes() for row in values]
    grey = write(tmp_path, "grey.png", png(4, 2, 16, 0, rows))
    colour = [np.repeat(row.astype(">u2"), 3).tobytes() for row in values]
    little = write(tmp_path, "grey.tif", encoded(Image.fromarray(values), "TIFF"))
    packed = write(tmp_path, "packed.tif", encoded(Image.fromarray(values), "TIFF", compression="tiff_lzw"))
    big = write(tmp_path, "big.tif", encoded(Image.frombytes("I;16B", (4, 2), b"".join(rows)), "TIFF"))
    for path in (grey, write(tmp_path, "colour.png", png(4, 2, 16, 2, colour)), little, packed, big):
        np.testing.assert_array_equal(pixels_of(path), expected, err_msg=path.name)
    assert facts_of(grey).mode == "I;16"
    turned = chunk(b"eXIf", exif(3).removeprefix(b"Exif\0\0"))
    path = write(tmp_path, "turned.png", png(4, 2, 16, 0, rows, before=turned))
    np.testing.assert_array_equal(pixels_of(path), expected[::-1, ::-1])


def test_a_palette_becomes_its_colours(tmp_path):
    colours = [(1, 2, 3), (200, 100, 50), (255, 255, 255), (9, 8, 7)]
    palette = chunk(b"PLTE", bytes(sum(colours, ())))
    expected = np.array([[colours[0], colours[1]], [colours[2], colours[3]]], np.uint8)
    eight = write(tmp_path, "8.png", png(2, 2, 8, 3, [b"\0\1", b"\2\3"], before=palette))
    two = write(tmp_path, "2.png", png(2, 2, 2, 3, [b"\x10", b"\xb0"], before=palette))
    picture = Image.frombytes("P", (2, 2), bytes([0, 1, 2, 3]))
    picture.putpalette(sum(colours, ()))
    others = [write(tmp_path, f"a.{kind}", encoded(picture, kind)) for kind in ("GIF", "BMP", "TIFF")]
    for path in (eight, two, *others):
        assert facts_of(path).mode == "P"
        np.testing.assert_array_equal(pixels_of(path), expected, err_msg=path.name)


def test_grey_and_black_and_white_have_three_equal_channels(tmp_path):
    grey = noise(channels=1)[..., 0]
    for kind in ("PNG", "TIFF", "BMP"):
        path = write(tmp_path, "a", encoded(grey, kind))
        assert facts_of(path).mode == "L"
        np.testing.assert_array_equal(pixels_of(path), np.repeat(grey[..., None], 3, -1))
    one_bit = pixels_of(write(tmp_path, "b", png(4, 1, 1, 0, [b"\xa0"])))
    np.testing.assert_array_equal(one_bit[0, :, 0], [255, 0, 255, 0])
    two_bits = pixels_of(write(tmp_path, "c", png(4, 1, 2, 0, [b"\x1b"])))
    np.testing.assert_array_equal(two_bits[0, :, 0], [0, 85, 170, 255])


def test_alpha_is_laid_on_white(tmp_path):
    colours = noise(channels=4)
    colours[0, 0], colours[0, 1], colours[0, 2] = (9, 9, 9, 0), (9, 9, 9, 255), (0, 100, 200, 128)
    alpha = colours[..., 3:] / 255
    expected = colours[..., :3] * alpha + 255 * (1 - alpha)
    for kind, options in [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})]:
        shown = pixels_of(write(tmp_path, "a", encoded(colours, kind, **options)))
        np.testing.assert_allclose(shown, expected, atol=1)
        np.testing.assert_array_equal(shown[0, :2], [[255] * 3, [9] * 3])
    rows = [bytes([50, 0, 50, 255, 0, 51])]
    grey = pixels_of(write(tmp_path, "b", png(3, 1, 8, 4, rows)))
    np.testing.assert_array_equal(grey[0, :, 0], [255, 50, 204])


@pytest.mark.parametrize(
    ("bits", "colour", "row", "transparent", "expected"),
    [
        (8, 0, bytes([7, 8]), b"\0\7", [255, 8]),
        (1, 0, b"\x40", b"\0\0", [255, 255]),
        (1, 0, b"\x40", b"\0\1", [0, 255]),
        (2, 0, b"\x60", b"\0\1", [255, 170]),
        (4, 0, b"\x3c", b"\0\3", [255, 204]),
        (16, 0, b"\x12\x34\x12\x35", b"\x12\x34", [255, 0x12]),
        (8, 2, bytes([1, 2, 3, 1, 2, 4]), b"\0\1\0\2\0\3", [255, 1]),
        (8, 3, bytes([1, 0]), b"\xff\0", [255, 30]),
        (8, 3, bytes([1, 0]), b"\xff\x80", [147, 30]),
    ],
)
def test_a_transparent_colour_of_a_png_becomes_white(tmp_path, bits, colour, row, transparent, expected):
    palette = chunk(b"PLTE", bytes([30, 0, 0, 40, 0, 0])) if colour == 3 else b""
    data = png(2, 1, bits, colour, [row], before=palette + chunk(b"tRNS", transparent))
    np.testing.assert_array_equal(pixels_of(write(tmp_path, "a.png", data))[0, :, 0], expected)


def test_an_interlaced_png_is_good_whole_and_bad_with_a_row_missing(tmp_path):
    # 3 x 5 pixels: passes 1, 3, 4, 5, 6 and 7, of which 2 is empty
    passes = [[[0]], [[40]], [[2], [42]], [[20, 22]], [[1], [21], [41]], [[10, 11, 12], [30, 31, 32]]]
    rows = [bytes(row) for rows in passes for row in rows]
    data = png(3, 5, 8, 0, rows, interlaced=1)
    expected = np.add.outer(np.arange(5) * 10, np.arange(3))
    np.testing.assert_array_equal(pixels_of(write(tmp_path, "a.png", data))[..., 0], expected)
    reason = reason_of(write(tmp_path, "b.png", png(3, 5, 8, 0, rows[:-1], interlaced=1)))
    assert "4 bytes of its pixels are missing" in reason


def test_a_gif_with_one_frame_and_transparency_is_laid_on_white(tmp_path):
    picture = Image.frombytes("P", (2, 1), bytes([0, 1]))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    path = write(tmp_path, "a.gif", encoded(picture, "GIF", transparency=1))
    np.testing.assert_array_equal(pixels_of(path), [[[10, 20, 30], [255, 255, 255]]])


def test_of_a_jpeg_with_more_pictures_behind_it_the_first_is_shown(tmp_path):
    first, second = frames(2)
    path = write(tmp_path, "stereo.jpg", encoded(first, "MPO", save_all=True, append_images=[second], quality=90))
    assert facts_of(path).format == "JPEG"
    np.testing.assert_array_equal(pixels_of(path), pixels_of(write(tmp_path, "first.jpg", JPEG)))


# ---- the file that was checked is the file that is opened


def test_a_file_that_changed_since_the_check_is_refused(tmp_path):
    path = write(tmp_path, "a.png", PNG)
    facts = facts_of(path)
    other = encoded(noise(seed=1), "PNG")
    for data in (other, PNG + b"\0", PNG[:-1], b"", patched(PNG, 100, b"\1\2\3")):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.png'.*(not the one that was checked before|0 bytes)"):
            open_image(path, facts)
    path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        open_image(path, facts)
    path.write_bytes(PNG)
    assert open_image(path, facts).size == (64, 48)


# ---- Pillow's settings


@pytest.mark.parametrize(("pixels", "truncated"), [(10, True), (None, False), (123, True)])
def test_the_settings_of_pillow_neither_matter_nor_change(folder, monkeypatch, pixels, truncated):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", truncated)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        data = encoded(noise(), kind)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert pixels_of(write(folder, "good", data)).shape == (48, 64, 3)
        reason_of(write(folder, "cut", data[: len(data) * 2 // 3]))
    for name in ("bomb.png", "bomb.webp", "bomb_frame.gif", "bomb.tif", "ztxt.png"):
        reason_of(write(folder, name, BAD_CONTENT[name][0]))
    assert (pixels, truncated) == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


# ---- preflight as a whole


def test_each_distinct_file_is_checked_once_in_whatever_spelling(folder, monkeypatch):
    (folder / "link.png").symlink_to("good.png")
    write(folder, "photo.jpg", JPEG)
    inspected, decoded = [], []
    real = preflight_module.inspect_image
    monkeypatch.setattr(
        preflight_module, "inspect_image", lambda path, *limits: inspected.append(path.name) or real(path, *limits)
    )
    load = images.PngImagePlugin.PngImageFile.load_end
    monkeypatch.setattr(images.PngImagePlugin.PngImageFile, "load_end", lambda self: decoded.append(self) or load(self))
    names = ["good.png", "photo.jpg", "./good.png", "good.png", "link.png", "photo.jpg", str(folder / "good.png")]
    facts = preflight([(str(row), name) for row, name in enumerate(names)], folder)
    assert list(facts) == list(dict.fromkeys(names))
    assert inspected == ["good.png", "photo.jpg"]
    assert len(decoded) == 1
    assert facts["link.png"] is facts["good.png"] is facts[str(folder / "good.png")]


def test_no_rows_are_no_problem(tmp_path):
    assert preflight([], tmp_path) == {}


def test_nothing_is_written_and_no_pixels_are_kept(folder, monkeypatch):
    for name in ("cut.jpg", "bomb.png", "animated.gif"):
        write(folder, name, BAD_CONTENT[name][0])
    large = np.tile(noise(), (40, 40, 1))
    write(folder, "large_photo.png", encoded(large, "PNG"))
    before = {path: path.lstat() for path in sorted(folder.rglob("*"))}
    tracemalloc.start()
    facts = preflight([("a", "good.png"), ("b", "large_photo.png")], folder)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    with pytest.raises(DataError):
        preflight([("a", name) for name in ("good.png", "cut.jpg", "bomb.png", "animated.gif")], folder)
    after = {path: path.lstat() for path in sorted(folder.rglob("*"))}
    assert list(after) == list(before)
    assert all(after[path].st_mtime_ns == before[path].st_mtime_ns for path in before)
    assert len(facts) == 2
    assert kept < 200_000


def test_a_picture_is_never_in_memory_twice_while_a_jpeg_is_checked(tmp_path):
    write(tmp_path, "a.jpg", encoded(np.tile(noise(), (80, 60, 1)), "JPEG"))  # 14.7 million pixels, 59 MB in Pillow
    code = """
import resource
from pathlib import Path
from unspoken.vision.images import inspect_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
inspect_image(Path("a.jpg"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 59_000 + 40_000  # kB: one picture, the file three times, strips


def test_a_thousand_good_files_are_checked_fast(tmp_path):
    rows = []
    for number in range(1000):
        kind = "JPEG" if number % 2 else "PNG"
        write(tmp_path, f"{number}", encoded(noise(224, 224, seed=number % 5), kind))
        rows.append((f"q{number}", f"{number}"))
    start = time.perf_counter()
    facts = preflight(rows, tmp_path)
    seconds = time.perf_counter() - start
    print(f"{seconds:.2f} s for 1,000 files of 224 x 224 pixels")
    assert len(facts) == 1000
    assert seconds < 30
