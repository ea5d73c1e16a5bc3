"""A scene as a picture: drawn several times too large and reduced, so that edges are smooth."""

from collections.abc import Mapping
from io import BytesIO
from math import cos, pi, sin

from PIL import Image, ImageDraw

from unspoken.tasks.shapes_scene import ARROWS, RELATIONS, Cell, Scene, Thing

BACKGROUND = (244, 244, 240)
PAINT: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 32, 40),
    "green": (32, 150, 60),
    "blue": (36, 80, 210),
    "yellow": (240, 208, 24),
    "purple": (132, 44, 160),
    "orange": (246, 124, 16),
}
INK = (16, 16, 16)
"""What arrows are drawn in."""
RADIUS: Mapping[str, float] = {"small": 0.28, "large": 0.42}
"""Half the extent of an object, as a share of its cell."""
SHIFT = 0.07
"""How far an object may stand off the middle of its cell; a large one still stays inside."""
FINENESS = 4
"""How many times too large a picture is drawn."""

Outline = tuple[tuple[float, float], ...]


def _turning(corners: int, *radii: float) -> Outline:
    """Corners around the middle, the first one at the top; their distances repeat `radii`."""
    angles = (2 * pi * corner / corners - pi / 2 for corner in range(corners))
    return tuple(
        (radii[corner % len(radii)] * cos(angle), radii[corner % len(radii)] * sin(angle))
        for corner, angle in enumerate(angles)
    )


_ARM = 0.32
OUTLINES: Mapping[str, Outline] = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0, -0.95), (0.98, 0.8), (-0.98, 0.8)),
    "star": _turning(10, 1.0, 0.42),
    "cross": (
        *((-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)),
        *((_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)),
    ),
    "diamond": ((0, -1), (0.72, 0), (0, 1), (-0.72, 0)),
}
"""Corners of each shape but the circle, right and down, in units of its radius."""

ARROW: Outline = ((0, -0.05), (0.26, -0.05), (0.26, -0.2), (0.48, 0), (0.26, 0.2), (0.26, 0.05), (0, 0.05))
"""Corners of an arrow: along the way that it points and across it, from the middle of its cell, as shares of it."""


def blank(size: int) -> Image.Image:
    """The plain background, without objects.

    Args:
        size: Pixels on each side.
    """
    return Image.new("RGB", (size, size), BACKGROUND)


def draw(scene: Scene, size: int) -> Image.Image:
    """The picture of a scene.

    Args:
        scene: What to draw.
        size: Pixels on each side.
    """
    large = blank(size * FINENESS)
    canvas = ImageDraw.Draw(large)
    for thing in scene.things:
        _paint(canvas, thing, large.width / scene.grid)
        if thing.arrow is not None:
            _paint_arrow(canvas, thing.cell, thing.arrow, large.width / scene.grid)
    return large.reduce(FINENESS)


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file, the same for equal pictures."""
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _paint(canvas: ImageDraw.ImageDraw, thing: Thing, cell: float) -> None:
    radius = RADIUS[thing.kind.size] * cell
    x = (thing.cell[1] + 0.5 + SHIFT * thing.shift[0]) * cell
    y = (thing.cell[0] + 0.5 + SHIFT * thing.shift[1]) * cell
    paint = PAINT[thing.kind.colour]
    if thing.kind.shape == "circle":
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=paint)
    else:
        corners = OUTLINES[thing.kind.shape]
        canvas.polygon([(x + radius * right, y + radius * down) for right, down in corners], fill=paint)


def _paint_arrow(canvas: ImageDraw.ImageDraw, place: Cell, arrow: str, cell: float) -> None:
    """From the middle of the cell, wherever its object stands, so that equal arrows look alike."""
    down, right = RELATIONS[ARROWS[arrow]]
    x, y = (place[1] + 0.5) * cell, (place[0] + 0.5) * cell
    corners = (
        (x + cell * (along * right - across * down), y + cell * (along * down + across * right))
        for along, across in ARROW
    )
    canvas.polygon(list(corners), fill=INK)
