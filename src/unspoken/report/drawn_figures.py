"""Pictures of many trajectories: what they are worth by how many they are, and at equal compute."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from unspoken.report.curves import Curve, name_ends
from unspoken.report.drawn import Drawn, Figures, Worth
from unspoken.report.findings import are_comparable, percent, with_interval
from unspoken.report.inline import apart
from unspoken.report.panel import LETTER, WIDTH, Picture, colour, fitted, line_style, mark, panel
from unspoken.report.read import ReportedRun
from unspoken.report.svg import LINE, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Many: TypeAlias = tuple[int, ReportedRun, Drawn]
"""Position of a run in the report, the run, and what its trajectories are worth."""

LEFT, BOTTOM, HEIGHT = 0.55, 0.45, 2.2
ASIDE = 0.05
"""By which marks of one number of trajectories stand beside each other, in doublings."""

WAYS = {"single": "single", "vote": "vote", "likelihood": "likeliest", "value": "best value", "oracle": "oracle"}
"""Ways to one answer as they are drawn, by their names in `trajectories.json`."""

ALL_WAYS = {**WAYS, "weighted": "weighted vote"}
"""As they stand in the table."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a picture.

    Attributes:
        index: Its colour and shape.
        name: What stands at its end.
        points: What is measured at each x.
    """

    index: int
    name: str
    points: Sequence[tuple[float, Worth]]


def pictures_of_trajectories(runs: Sequence[ReportedRun]) -> list[Picture]:
    """What trajectories of each run are worth; those of runs on the same questions beside each other, too."""
    many = [(index, run, run.drawn) for index, run in enumerate(runs) if run.drawn]
    found = [_worth(*each) for each in many]
    return [*found, _equal_compute(many)] if are_comparable([drawn for _, _, drawn in many]) else found


def ways_of(figures: Figures, names: Mapping[str, str] = ALL_WAYS) -> dict[str, Worth]:
    """The ways that were measured, by what they are called."""
    found = {title: getattr(figures, name) for name, title in names.items()}
    return {title: worth for title, worth in found.items() if worth is not None}


def _worth(index: int, run: ReportedRun, drawn: Drawn) -> Picture:
    # a way keeps its colour whether or not there is a critic
    places = {way: place for place, way in enumerate(WAYS.values())}
    ways = [*ways_of(drawn.most, WAYS)]
    lines = []
    for number, way in enumerate(ways):
        aside = 2 ** (ASIDE * (number - (len(ways) - 1) / 2))
        points = [(each.num_trajectories * aside, ways_of(each, WAYS)[way]) for each in drawn.figures]
        lines.append(Line(places[way], way, points))
    title = f"What several trajectories of {apart(fitted(run.label, 24))} are worth"
    caption = (
        "Single: one of them. Vote: what most say. Likeliest: that of the likeliest text. Oracle: right if any is, "
        "which no way to choose can pass. Bars: 95% intervals."
    )
    told = "; ".join(
        f"{way} "
        + ", ".join(
            f"{percent(ways_of(each, WAYS)[way].accuracy)} of {each.num_trajectories}" for each in drawn.figures
        )
        for way in ways
    )
    sizes = [float(each.num_trajectories) for each in drawn.figures]
    return _picture(f"trajectories-{index}", title, caption, told, "trajectories of a question", lines, sizes)


def _equal_compute(many: Sequence[Many]) -> Picture:
    lines = [
        Line(index, run.label, [(each.passes_per_question, each.vote) for each in drawn.figures])
        for index, run, drawn in many
    ]
    title = "A vote of trajectories at equal compute"
    sizes = {run.label: ", ".join(str(each.num_trajectories) for each in drawn.figures) for _, run, drawn in many}
    if len(set(sizes.values())) == 1:
        numbers = next(iter(sizes.values()))
    else:
        numbers = "; ".join(f"{apart(fitted(label, 24))} {each}" for label, each in sizes.items())
    caption = (
        f"Compare what stands at the same place across. Marks from the left: {numbers} trajectories. A pass computes a "
        "thought or writes a token. Bars: 95% intervals."
    )
    told = "; ".join(
        f"{line.name}: " + ", ".join(f"{with_interval(worth)} in {passes:.1f} passes" for passes, worth in line.points)
        for line in lines
    )
    xs = [x for line in lines for x, _ in line.points]
    return _picture(
        "equal-compute", title, caption, told, "passes for all trajectories of a question", lines, _doublings(xs)
    )


def _picture(
    name: str, title: str, caption: str, told: str, across: str, lines: Sequence[Line], ticks: Sequence[float]
) -> Picture:
    """Shares over something that doubles from mark to mark."""
    xs = [x for line in lines for x, _ in line.points]
    bottom = _bottom([worth.interval[0] for line in lines for _, worth in line.points])
    right = 0.35 + LETTER * max(len(fitted(line.name, 20)) for line in lines)

    def paint(figure: "Figure") -> None:
        view = panel(figure, LEFT, BOTTOM, WIDTH - LEFT - right, HEIGHT)
        view.axes.set_xscale("log", base=2)
        view.axes.set(xlim=(min(xs) / 1.2, max(xs) * 1.2), xlabel=across)
        view.axes.set_ylim(bottom - 0.03 * (1 - bottom), 1 + 0.04 * (1 - bottom))
        view.axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        view.axes.minorticks_off()
        marks = [bottom + part * (1 - bottom) / 5 for part in range(6)]
        view.axes.set_yticks(marks, [f"{100 * share:.3g}%" for share in marks])
        view.axes.grid(axis="y", color=LINE)
        for line in lines:
            for x, worth in line.points:
                view.axes.plot([x, x], worth.interval, color=colour(line.index), linewidth=1.2, zorder=3)
            view.axes.plot(
                [x for x, _ in line.points], [worth.accuracy for _, worth in line.points], line_style(line.index),
                linewidth=1.1, markersize=5.5, zorder=5, clip_on=False, **mark(line.index),
            )  # fmt: skip
        ends = [[(x, worth.accuracy) for x, worth in line.points] for line in lines]
        name_ends(view, [Curve(line.index, line.name, end, (), ()) for line, end in zip(lines, ends, strict=True)])

    if bottom:
        caption += f" The scale begins at {100 * bottom:g}%."
    svg = draw(name, f"{title}. {told}.", WIDTH, HEIGHT + BOTTOM + 0.1, paint)
    return Picture(name, svg, title, caption)


def _bottom(lows: Sequence[float]) -> float:
    """Where the scale begins: 0 unless all lies so high that little could be told apart."""
    return next(bottom for bottom in (0.95, 0.9, 0.75, 0.5, 0.0) if min(lows) >= bottom)


def _doublings(xs: Sequence[float]) -> list[float]:
    """Powers of 2 between the least and the most; where fewer than two lie there, what was measured."""
    powers = range(math.ceil(math.log2(min(xs))), math.floor(math.log2(max(xs))) + 1)
    return [2.0**power for power in powers] if len(powers) > 1 else sorted(set(xs))
