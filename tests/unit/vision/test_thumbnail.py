import io
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from unspoken.vision.thumbnail import HEAD, HEAD_OF_PHOTOGRAPH, MAX_LETTERS, photograph, thumbnail


def noise(height, width):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def decoded(text):
    assert text.startswith(HEAD)
    return Image.open(io.BytesIO(b64decode(text.removeprefix(HEAD), validate=True)))


def test_a_small_picture_keeps_its_pixels():
    picture = noise(48, 96)
    found = decoded(thumbnail(picture))
    assert found.format == "PNG"
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), np.asarray(picture))


@pytest.mark.parametrize(("size", "small"), [((192, 384), (48, 96)), ((97, 97), (96, 96)), ((1, 4000), (1, 96))])
def test_a_large_picture_becomes_small_in_its_own_form(size, small):
    picture = noise(*size)
    assert decoded(thumbnail(picture)).size == small[::-1]
    assert picture.size == size[::-1], "the picture itself stays as it is"


def test_halves_keep_their_colours():
    picture = Image.new("RGB", (192, 192), (200, 10, 30))
    picture.paste((0, 90, 255), (96, 0, 192, 192))
    found = np.asarray(decoded(thumbnail(picture)))
    assert (found[:, :44] == (200, 10, 30)).all()
    assert (found[:, 52:] == (0, 90, 255)).all()


def test_the_longest_fits_what_a_report_reads():
    assert 0.9 * MAX_LETTERS < len(thumbnail(noise(96, 96))) <= MAX_LETTERS


def test_a_photograph_is_larger_and_takes_fewer_letters_than_its_pixels():
    picture = noise(240, 500)
    found = photograph(picture, 256)
    assert found.startswith(HEAD_OF_PHOTOGRAPH)
    copy = Image.open(io.BytesIO(b64decode(found.removeprefix(HEAD_OF_PHOTOGRAPH), validate=True)))
    assert (copy.format, copy.size) == ("JPEG", (256, 123))
    assert len(found) < 60_000
    assert photograph(noise(48, 96), 256) == thumbnail(noise(48, 96))
