"""What all figures share: their size, how a run looks in them, and where its name stands. Lengths are inches."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

from unspoken.report.svg import LINE, PAPER, SERIES, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.9
"""Of every figure: about a telephone's, so that its text is never shrunk to be unreadable."""

LETTER = 0.075
"""Width of a letter, on average and rather too much."""

MARKS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖"}
"""Shapes of the runs, and the same as text; one more than colours, so that the pairs repeat late."""

LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: Its id.
        svg: The drawing.
        title: What it is about.
        caption: How to read it.
    """

    name: str
    svg: Markup
    title: str
    caption: str


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Axes at a place of a figure.

    Attributes:
        axes: They.
        width: Of their box.
        height: Of their box.
    """

    axes: "Axes"
    width: float
    height: float

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write at a place, counted from the lower left corner; no part of the text is a formula."""
        style = {"va": "center_baseline", "parse_math": False, "zorder": 6, **style}
        self.axes.text(x / self.width, y / self.height, printable(text), transform=self.axes.transAxes, **style)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the data is drawn, counted from the lower left corner."""
        right, top = self.axes.transAxes.inverted().transform(self.axes.transData.transform((x, y)))
        return float(right) * self.width, float(top) * self.height


def panel(figure: "Figure", left: float, bottom: float, width: float, height: float) -> Panel:
    """Add axes without a frame."""
    across, up = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
    return Panel(axes, width, height)


def colour(index: int) -> str:
    """Colour of the run at this position of the report."""
    return SERIES[index % len(SERIES)]


def mark(index: int, *, hollow: bool = False) -> dict[str, Any]:
    """Colour and shape of the run at this position, as matplotlib's settings of a line."""
    inside, edge = (PAPER, colour(index)) if hollow else (colour(index), PAPER)
    return {
        "color": colour(index),
        "marker": [*MARKS][index % len(MARKS)],
        "markerfacecolor": inside,
        "markeredgecolor": edge,
        "markeredgewidth": 1.1 if hollow else 0.6,
    }


def mark_as_text(index: int) -> str:
    """The shape of `mark` as a character."""
    return [*MARKS.values()][index % len(MARKS)]


def line_style(index: int) -> str:
    """Dashes of the run at this position: runs of the same colour differ in them."""
    return LINES[index // len(SERIES) % len(LINES)]


def percent_axis(axes: "Axes", which: Literal["x", "y"]) -> None:
    """Count an axis from 0% to 100%."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.grid(axis=which, color=LINE)


def fitted(text: str, letters: int) -> str:
    """The text, its middle left out where it is longer than this; how runs differ mostly stands at the ends."""
    if len(text) <= letters:
        return text
    tail = (letters - 1) // 2
    return f"{text[: letters - 1 - tail]}…{text[len(text) - tail :]}"


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to the wanted ones as can be, in the same order and this far apart.

    Args:
        wanted: The places wished for.
        gap: The least distance.
        low: The lowest place.
        high: The highest place; passed when there is no room for all.
    """
    order = sorted(range(len(wanted)), key=lambda index: (wanted[index], index))
    # least squares: those that would come too near share the mean of their wishes
    pools: list[list[float]] = []
    for rank, index in enumerate(order):
        pools.append([wanted[index] - rank * gap])
        while len(pools) > 1 and fmean(pools[-2]) >= fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    shifts = [fmean(pool) for pool in pools for _ in pool]
    top = max(high - (len(order) - 1) * gap, low)
    places = [0.0] * len(order)
    for rank, index in enumerate(order):
        places[index] = min(max(shifts[rank], low), top) + rank * gap
    return places


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "Box") -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )


def beside(
    points: Sequence[tuple[float, float]], taken: Sequence[Box], texts: Sequence[str], width: float
) -> list[Box]:
    """A place for each text next to its point, off the points and off each other where that is possible.

    Args:
        points: The points.
        taken: What is drawn already.
        texts: One for each point.
        width: Of the space there is.
    """
    placed: list[Box] = []
    for (x, y), text in zip(points, texts, strict=True):
        long = LETTER * len(text)
        choices = [
            Box(left, y + up - 0.08, left + long, y + up + 0.08)
            for up in (0.0, -0.17, 0.17, -0.34, 0.34)
            for left in (x + 0.1, x - 0.1 - long)
        ]
        inside = [box for box in choices if box.left >= 0.02 and box.right <= width] or choices
        free = [box for box in inside if not any(box.meets(other) for other in [*taken, *placed])]
        placed.append((free or inside)[0])
    return placed
