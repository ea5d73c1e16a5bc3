"""The images of a question, and who looks where: the picture in the dark but for what is looked at, or a bar a slot.

Lengths are the units of the drawing, about a pixel each.
"""

from collections.abc import Mapping

from markupsafe import Markup

from unspoken.report.inspected import Example, SeenImage
from unspoken.report.svg import printable
from unspoken.vision.thumbnail import SIDE

LEVELS = 16
"""Shades between what is looked at most and what is not looked at."""
DARKEST = 0.75
"""Opacity over what is not looked at."""


def lookers(example: Example) -> list[str]:
    """Who looks at the images of a question: its thoughts and its answer; nobody without images or attention."""
    if not any(image.attention for image in example.images):
        return []
    return [*(f"thought {number}" for number in range(1, len(example.thoughts) + 1)), "the answer"]


def picture(thumbnail: str, alt: str, name: str = "", grid: tuple[int, int] | None = None) -> Markup:
    """A small picture.

    Args:
        thumbnail: It, as a data URI.
        alt: What it is, in words.
        name: Its id, by which `look` draws it again; none where nobody looks at it.
        grid: Rows and columns of its patches.
    """
    width, height = _size(grid)
    known = Markup(' id="{}"').format(name) if name else ""
    return Markup(
        '<svg class="picture" viewBox="0 0 {:g} {:g}" style="width: {:g}px" role="img" aria-label="{}">'
        '<image{} width="{:g}" height="{:g}" href="{}"/></svg>'
    ).format(width, height, width, printable(alt), known, width, height, thumbnail)


def look(image: SeenImage, place: int, looker: str, name: str) -> Markup:
    """Where one looks, drawn; empty without attention.

    Args:
        image: At which image.
        place: Which of those who look, in the order of `lookers`.
        looker: What it is called.
        name: Id of the picture on the page.
    """
    if image.attention is None:
        return Markup()
    shares = image.attention[place]
    most = max(range(len(shares)), key=lambda slot: shares[slot])
    where = f"slot {most + 1}"
    if image.grid:
        where = f"the patch in row {most // image.grid[1] + 1}, column {most % image.grid[1] + 1}"
    alt = f"{looker} pays {sum(shares):.1%} of its attention to the image, most of it, {shares[most]:.1%}, to {where}"
    width, height = _size(image.grid)
    drawn = _shade(shares, image.grid, name) if image.grid else _bars(shares)
    return Markup(
        '<svg class="picture" viewBox="0 0 {:g} {:g}" style="width: {:g}px" role="img" aria-label="{}">'
        "<title>{}</title>{}</svg>"
    ).format(width, height, width, printable(alt), printable(alt), drawn)


def amount(image: SeenImage, place: int) -> str:
    """How much attention an image gets, and the most of one slot."""
    if image.attention is None:
        return ""
    shares = image.attention[place]
    return f"{sum(shares):.1%}, at most {max(shares):.1%}"


def caption(example: Example) -> str:
    """How the drawings are to be read."""
    kinds: Mapping[bool, str] = {
        True: "Lit: the patches of the image that it looks at most. ",
        False: "Bars: the slots of the image, in order; they are mixed from all of it and have no place in it. ",
    }
    shown = "".join(words for kind, words in kinds.items() if any(bool(each.grid) == kind for each in example.images))
    return (
        f"{shown}Below, how much of its attention the image gets, and the most of one "
        f"{'patch' if all(each.grid for each in example.images) else 'slot'}: mean over heads and layers. The image is "
        "shown as the encoder gets it. What is looked at is not yet what is used."
    )


def _size(grid: tuple[int, int] | None) -> tuple[float, float]:
    """Width and height of a drawing."""
    rows, columns = grid or (1, 1)
    return SIDE * columns / max(rows, columns), SIDE * rows / max(rows, columns)


def _shade(shares: tuple[float, ...], grid: tuple[int, int], name: str) -> Markup:
    """The picture, and over every patch a shade, the darker the less it is looked at."""
    rows, columns = grid
    side, most = SIDE / max(rows, columns), max(shares)
    by_level: dict[int, list[str]] = {}
    for slot, share in enumerate(shares):
        level = round(LEVELS * (1 - share / most)) if most > 0 else LEVELS
        by_level.setdefault(level, []).append(f"M{slot % columns} {slot // columns}h1v1h-1z")
    shades = Markup("").join(
        Markup('<path fill-opacity="{:.2f}" d="{}"/>').format(DARKEST * level / LEVELS, "".join(patches))
        for level, patches in sorted(by_level.items())
        if level
    )
    return Markup('<use href="#{}"/><g class="shade" transform="scale({:g})">{}</g>').format(name, side, shades)


def _bars(shares: tuple[float, ...]) -> Markup:
    width, most = SIDE / len(shares), max(shares) or 1.0
    bars = "".join(
        f"M{slot * width:.2f} {SIDE * (1 - share / most):.2f}h{width * 0.8:.2f}V{SIDE}h{-width * 0.8:.2f}z"
        for slot, share in enumerate(shares)
    )
    return Markup('<path class="bars" d="{}"/><path class="floor" d="M0 {}h{}"/>').format(bars, SIDE, SIDE)
