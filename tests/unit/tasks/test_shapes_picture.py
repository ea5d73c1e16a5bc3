"""Pictures: each object is where the scene says, in its colour, and told from every other."""

from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from unspoken.tasks.shapes_picture import BACKGROUND, INK, PAINT, blank, draw, png
from unspoken.tasks.shapes_scene import ARROWS, COLOURS, SHAPES, SIZES, Kind, Scene, Thing


def one(colour="red", shape="circle", size="large", cell=(1, 2), shift=(0.0, 0.0)):
    return Scene(4, (Thing(Kind(colour, shape, size), cell, shift),))


def pixels(image):
    return np.asarray(image).astype(int)


def painted(scene, size=64):
    """Where a picture is not background."""
    return (pixels(draw(scene, size)) != BACKGROUND).any(axis=2)


def test_the_blank_picture_is_all_background():
    assert blank(48).size == (48, 48)
    assert blank(48).getcolors() == [(48 * 48, BACKGROUND)]
    assert png(draw(Scene(4, ()), 48)) == png(blank(48))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_an_object_has_its_colour_in_the_middle_of_its_cell(shape, size):
    for colour in COLOURS:
        picture = pixels(draw(one(colour, shape, size), 64))
        assert tuple(picture[24, 40]) == PAINT[colour]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_object_stays_within_its_cell_however_far_it_is_shifted(shape):
    for shift in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        outside = painted(one(shape=shape, shift=shift))
        assert outside[16:32, 32:48].any()
        outside[16:32, 32:48] = False
        assert not outside.any()


def test_a_shift_moves_the_object_right_and_down():
    for shift, places in (((1.0, 0.0), (1, 0)), ((0.0, 1.0), (0, 1))):
        down, right = np.argwhere(painted(one(shift=shift))).mean(axis=0) - (24 - 0.5, 40 - 0.5)
        # 0.07 of 16 pixels
        assert (right, down) == pytest.approx((1.12 * places[0], 1.12 * places[1]), abs=0.3)


@pytest.mark.parametrize("shape", SHAPES)
def test_large_objects_cover_more_than_twice_the_pixels_of_small_ones(shape):
    assert painted(one(shape=shape), 256).sum() > 2 * painted(one(shape=shape, size="small"), 256).sum()


@pytest.mark.parametrize("pair", list(combinations(SHAPES, 2)))
def test_even_small_shapes_differ_at_the_smallest_size_that_the_task_allows(pair):
    first, second = (pixels(draw(one(shape=shape, size="small"), 48)) for shape in pair)
    # a small object covers about 25 pixels there
    assert (np.abs(first - second).max(axis=2) > 80).sum() >= 4


def test_colours_are_far_apart():
    for first, second in combinations([*PAINT.values(), BACKGROUND], 2):
        assert max(abs(a - b) for a, b in zip(first, second, strict=True)) >= 80


def test_edges_are_smooth():
    colours = {colour for _, colour in draw(one(), 64).getcolors()}
    assert {PAINT["red"], BACKGROUND} < colours
    assert len(colours) >= 6


def test_every_object_of_a_scene_is_drawn():
    things = [Thing(Kind(colour, "star", "small"), (row, row)) for row, colour in enumerate(("red", "blue", "green"))]
    picture = pixels(draw(Scene(3, tuple(things)), 60))
    assert [tuple(picture[place, place]) for place in (10, 30, 50)] == [PAINT[c] for c in ("red", "blue", "green")]


def test_a_picture_file_holds_the_picture_and_equal_scenes_give_equal_bytes():
    data = png(draw(one(shift=(0.3, -0.8)), 64))
    assert data == png(draw(one(shift=(0.3, -0.8)), 64))
    with Image.open(BytesIO(data)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 64))
        assert (pixels(image) == pixels(draw(one(shift=(0.3, -0.8)), 64))).all()


@pytest.mark.parametrize(("arrow", "way"), [("left", (0, -1)), ("right", (0, 1)), ("up", (-1, 0)), ("down", (1, 0))])
@pytest.mark.parametrize("size", SIZES)
def test_an_arrow_is_dark_from_the_middle_of_its_cell_to_the_side_that_it_points_at(arrow, way, size):
    thing = Thing(Kind("blue", "cross", size), (1, 2), (0.9, -0.9), arrow)
    picture = pixels(draw(Scene(4, (thing,)), 256))
    middle = (64 + 32, 128 + 32)

    def at(pixels_along, pixels_across=0):
        return tuple(
            picture[
                middle[0] + way[0] * pixels_along + way[1] * pixels_across,
                middle[1] + way[1] * pixels_along + way[0] * pixels_across,
            ]
        )

    assert all(at(along) == INK for along in (2, 10, 20, 27))
    assert at(19, 8) == at(19, -8) == INK
    assert INK not in {at(-along) for along in (4, 10, 20, 30)}
    assert INK not in {at(10, 8), at(10, -8), at(31)}


def test_arrows_of_different_ways_look_different_at_the_smallest_size_that_the_task_allows():
    def drawn(arrow):
        return pixels(draw(Scene(4, (Thing(Kind("purple", "circle", "large"), (1, 2), (0.0, 0.0), arrow),)), 48))

    for first, second in combinations([*ARROWS, None], 2):
        assert (np.abs(drawn(first) - drawn(second)).max(axis=2) > 80).sum() >= 8
