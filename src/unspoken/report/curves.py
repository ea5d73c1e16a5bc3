"""Pictures of training: loss or rewards over steps, validation accuracy over epochs, and the stages on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

from unspoken.report.findings import percent
from unspoken.report.inline import apart
from unspoken.report.panel import (
    LETTER,
    WIDTH,
    Panel,
    Picture,
    colour,
    fitted,
    line_style,
    mark,
    panel,
    percent_axis,
    spread,
)
from unspoken.report.read import ReportedRun
from unspoken.report.recorded import Line
from unspoken.report.svg import BAND, FAINT, LINE, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG_RATIO = 30
"""Between the largest and the smallest value from which a scale is logarithmic."""
MAX_POINTS = 300
"""Points of a curve; longer ones are averaged, so that the page stays small."""

MOST_THOUGHTS = 12
"""Thoughts whose gradients are drawn."""

LEFT, BOTTOM, STRIP = 0.55, 0.45, 0.17

Course: TypeAlias = tuple[tuple[int, float, float], ...]
"""(stage, where it begins, where it ends), one after the other."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What one run contributes to a figure.

    Attributes:
        index: Position of the run in the report: its colour and shape.
        name: Its label.
        points: (x, y); empty when the run has none.
        intervals: (low, high) of each y, or nothing.
        course: Its stages.
        checks: (x, y) of what is measured beside the curve now and then.
    """

    index: int
    name: str
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float]]
    course: Course
    checks: Sequence[tuple[float, float]] = ()


def loss(runs: Sequence[ReportedRun]) -> Picture | None:
    """Training loss over steps; that of a run with rewards does not tell how much it earns."""
    curves = [_loss_curve(index, run) for index, run in enumerate(runs) if not run.earns]
    values = [y for curve in curves for _, y in curve.points]
    if not values:
        return None
    log = is_wide(values)
    caption = "Mean loss between two logged steps."
    if any(curve.course[1:] for curve in curves):
        caption += " Stages train different words, so their losses do not compare."
    if any(sum(line.loss is not None for line in run.lines) > MAX_POINTS for run in runs if not run.earns):
        caption += " Neighbours are averaged."
    caption += " Logarithmic scale." if log else ""
    return picture_of("loss", "Training loss", caption, in_words(curves), curves, over_steps(values))


def is_wide(values: Sequence[float]) -> bool:
    """Whether values need a logarithmic scale: losses of runs that have learnt differ by orders of magnitude."""
    return 0 < min(values) < max(values) / LOG_RATIO


def over_steps(values: Sequence[float]) -> Callable[["Axes"], None]:
    """The axes of values over optimizer steps."""

    def scale(axes: "Axes") -> None:
        axes.set_xlabel("optimizer step")
        axes.grid(axis="y")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        if is_wide(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        else:
            axes.set_ylim(bottom=min(0, *values))

    return scale


def in_words(curves: Sequence[Curve]) -> str:
    """Where curves begin and end, for those who do not see them."""
    return "; ".join(
        f"{curve.name}: from {curve.points[0][1]:.3g} to {curve.points[-1][1]:.3g} in {curve.points[-1][0]:,.0f} steps"
        for curve in curves
        if curve.points
    )


def validation(runs: Sequence[ReportedRun]) -> Picture | None:
    """Validation accuracy over epochs."""
    curves = [_validation_curve(index, run) for index, run in enumerate(runs)]
    if not any(curve.points for curve in curves):
        return None

    def scale(axes: "Axes") -> None:
        axes.set(xlabel="epoch", ylim=(-0.02, 1.02))
        percent_axis(axes, "y")

    alt = "; ".join(
        f"{curve.name}: {percent(curve.points[-1][1])} after epoch {curve.points[-1][0]:g}, "
        f"at best {percent(max(y for _, y in curve.points))}"
        for curve in curves
        if curve.points
    )
    caption = "Each time at the stage that training had reached. Shaded around a line: 95% interval."
    return picture_of("validation", "Validation accuracy while training", caption, alt, curves, scale)


def rewards(runs: Sequence[ReportedRun]) -> list[Picture]:
    """What trajectories earn over updates, and how many thoughts they have where a policy learns when to stop."""
    earning = [(index, run) for index, run in enumerate(runs) if run.earns]
    found = [
        _earned(
            earning,
            "reward_exact",
            "Reward for right answers",
            "What a trajectory earns by being right, mean of each logged update.",
        )
    ]
    if any(line.reward != line.reward_exact for _, run in earning for line in run.lines):
        caption = "All that a trajectory earns, less what it pays for thoughts and words, mean of each logged update."
        found.append(_earned(earning, "reward", "Reward", caption))
    if any(run.resolved.recipe.thoughts.halt_after is not None for _, run in earning):
        caption = "Of a trajectory, mean of each logged update. Hollow: of a validation question, without chance."
        found.append(_earned(earning, "thoughts", "Thoughts before it stops", caption, "eval_thoughts_per_answer"))
    return [picture for picture in found if picture]


MEASURES = {
    "thought_norm_ratio": ("Length of thoughts", "Over the mean length of the embeddings of words."),
    "thought_cosine": ("Likeness of thoughts", "Mean cosine between the thoughts of two questions; 1: all the same."),
    "thought_rank": ("Directions of thoughts", "In about how many directions those of a micro-batch differ."),
}
"""What is told of the thoughts in each logged line: title and meaning."""


def health(runs: Sequence[ReportedRun]) -> list[Picture]:
    """The thoughts while training: their measures, and the gradient that reaches each."""
    measured = [_measure(runs, name, title, caption) for name, (title, caption) in MEASURES.items()]
    reached = [_gradients(index, run) for index, run in enumerate(runs)]
    return [picture for picture in (*measured, *reached) if picture]


def _earned(
    earning: Sequence[tuple[int, ReportedRun]], name: str, title: str, caption: str, checked: str | None = None
) -> Picture | None:
    """A figure of the updates of runs that learn from rewards, and where there is one, that of their validations."""
    curves = []
    for index, run in earning:
        points = averaged(_values(run, name), MAX_POINTS)
        checks = _values(run, checked) if checked else ()
        curves.append(Curve(index, run.label, points, (), course(run.lines, lambda line: line.step), checks))
    shown = [curve for curve in curves if curve.points]
    if not shown:
        return None
    values = [0.0, *(y for curve in shown for _, y in (*curve.points, *curve.checks))]
    low, high = min(values), max(values)

    def scale(axes: "Axes") -> None:
        axes.set(xlabel="update", ylim=(low - 0.03 * (high - low or 1), high + 0.06 * (high - low or 1)))
        axes.grid(axis="y")
        axes.xaxis.set_major_formatter("{x:,.0f}")

    alt = "; ".join(
        f"{curve.name}: from {curve.points[0][1]:.3g} to {curve.points[-1][1]:.3g} "
        f"in {curve.points[-1][0]:,.0f} updates"
        + (f", at the last validation {curve.checks[-1][1]:.3g}" if curve.checks else "")
        for curve in shown
    )
    return picture_of(name.replace("_", "-"), title, caption, alt, shown, scale)


def _values(run: ReportedRun, name: str) -> list[tuple[float, float]]:
    """A figure of the log over steps, where it was logged."""
    values = [(float(line.step), getattr(line, name)) for line in run.lines]
    return [(step, value) for step, value in values if value is not None]


def _measure(runs: Sequence[ReportedRun], name: str, title: str, caption: str) -> Picture | None:
    curves = []
    for index, run in enumerate(runs):
        points = averaged(_values(run, name), MAX_POINTS)
        curves.append(Curve(index, run.label, points, (), course(run.lines, lambda line: line.step)))
    if not any(curve.points for curve in curves):
        return None

    def scale(axes: "Axes") -> None:
        axes.set(xlabel="optimizer step")
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), axes.get_ylim()[1])
        axes.grid(axis="y")
        axes.xaxis.set_major_formatter("{x:,.0f}")

    alt = "; ".join(
        f"{curve.name}: from {curve.points[0][1]:.3g} to {curve.points[-1][1]:.3g}" for curve in curves if curve.points
    )
    return picture_of(name.replace("_", "-"), title, caption, alt, curves, scale)


def _gradients(index: int, run: ReportedRun) -> Picture | None:
    """A curve for each thought of one run."""
    thoughts = sorted({thought for line in run.lines for thought in line.gradients})
    curves = []
    for place, thought in enumerate(thoughts[:MOST_THOUGHTS]):
        points = [(float(line.step), line.gradients[thought]) for line in run.lines if line.gradients.get(thought)]
        taken = course(run.lines, lambda line: line.step)
        curves.append(Curve(place, f"thought {thought}", averaged(points, MAX_POINTS), (), taken))
    if not any(curve.points for curve in curves):
        return None

    def scale(axes: "Axes") -> None:
        axes.set(xlabel="optimizer step", yscale="log")
        axes.grid(axis="y")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_minor_formatter("")

    alt = "; ".join(f"{curve.name}: {curve.points[-1][1]:.2g} at the end" for curve in curves if curve.points)
    caption = "Mean length of the gradient of the loss with respect to each thought. Logarithmic scale."
    if len(thoughts) > MOST_THOUGHTS:
        caption += f" The first {MOST_THOUGHTS} of {len(thoughts)} thoughts."
    title = f"What learning says to the thoughts of {apart(fitted(run.label, 24))}"
    return picture_of(f"gradients-{index}", title, caption, alt, curves, scale)


def averaged(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most so many points: each the mean of its neighbours, at the place of the last of them."""
    size = max(-(-len(points) // most), 1)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], fmean(y for _, y in group)) for group in groups]


def course(lines: Sequence[Line], x_of: Callable[[Line], float]) -> Course:
    """The stages of a run. A stage ends with its last line, and there the next one begins."""
    spans: list[tuple[int, float, float]] = []
    for line, following in zip_longest(lines, lines[1:]):
        if following is None or following.stage != line.stage:
            spans.append((line.stage, spans[-1][2] if spans else 0.0, x_of(line)))
    return tuple(spans)


def _loss_curve(index: int, run: ReportedRun) -> Curve:
    points = [(float(line.step), line.loss) for line in run.lines if line.loss is not None]
    return Curve(index, run.label, averaged(points, MAX_POINTS), (), course(run.lines, lambda line: line.step))


def _validation_curve(index: int, run: ReportedRun) -> Curve:
    points, intervals = [], []
    for line in run.lines:
        if line.eval_accuracy is not None:
            points.append((line.epoch, line.eval_accuracy))
            low, high = line.eval_accuracy_low, line.eval_accuracy_high
            intervals.append((line.eval_accuracy if low is None else low, line.eval_accuracy if high is None else high))
    return Curve(index, run.label, points, intervals, course(run.lines, lambda line: line.epoch))


def _courses(curves: Sequence[Curve]) -> dict[Course, str]:
    """The different courses through more than one stage, each with the names of the runs that took it."""
    names: dict[Course, list[str]] = {}
    for curve in curves:
        if len(curve.course) > 1:
            names.setdefault(curve.course, []).append(curve.name)
    return {taken: ", ".join(who) for taken, who in names.items()}


def picture_of(
    name: str, title: str, caption: str, alt: str, curves: Sequence[Curve], scale: Callable[["Axes"], None]
) -> Picture:
    """Curves over the same steps, each named at its end, below the stages on the way.

    Args:
        name: Id of the figure.
        title: What it is about.
        caption: How to read it.
        alt: What the curves show, in words.
        curves: They; those without points are left out.
        scale: Sets the axes.
    """
    shown = [curve for curve in curves if curve.points]
    courses = _courses(shown)
    strips = [(taken, "stage" if len(courses) == 1 else who) for taken, who in courses.items()]
    plot = max(1.8, 0.17 * len(shown))
    beside = [curve.name for curve in shown] + [who for _, who in strips]
    right = 0.35 + LETTER * max(len(fitted(text, 20)) for text in beside)
    width = WIDTH - LEFT - right
    height = BOTTOM + plot + 0.13 + STRIP * len(strips)
    end = max(curve.points[-1][0] for curve in shown) or 1.0

    def paint(figure: "Figure") -> None:
        view = panel(figure, LEFT, BOTTOM, width, plot)
        view.axes.set_xlim(0, end)
        for curve in shown:
            _line(view.axes, curve)
        scale(view.axes)
        # asking for the limits settles them, and the places of the ends with them
        view.axes.set_ylim(view.axes.get_ylim())
        name_ends(view, shown)
        if len(strips) == 1:
            _shade(view.axes, strips[0][0], ("none", BAND))
        for row, (taken, who) in enumerate(strips):
            strip = panel(figure, LEFT, BOTTOM + plot + 0.09 + STRIP * row, width, STRIP - 0.03)
            strip.axes.set(xlim=(0, end), ylim=(0, 1), xticks=[], yticks=[])
            _shade(strip.axes, taken, (BAND, LINE))
            _number(strip, taken, end)
            strip.write(width + 0.1, STRIP / 2 - 0.02, fitted(who, 20), fontsize=8, color=FAINT)

    if strips:
        caption += " Strip on top: stage of the curriculum."
    return Picture(name, draw(name, f"{title}. {alt}.", WIDTH, height, paint), title, caption)


def _line(axes: "Axes", curve: Curve) -> None:
    xs, ys = zip(*curve.points, strict=True)
    # a mark now and then, at other places for each run
    every = max(len(xs) // 8, 1)
    axes.plot(
        xs, ys, line_style(curve.index), linewidth=1.4, markersize=4.5, zorder=4, clip_on=False,
        markevery=(curve.index * every // 3 % every, every), **mark(curve.index),
    )  # fmt: skip
    if curve.intervals:
        lows, highs = zip(*curve.intervals, strict=True)
        axes.fill_between(xs, lows, highs, color=colour(curve.index), alpha=0.16, linewidth=0, zorder=2)
    for x, y in curve.checks:
        axes.plot(x, y, markersize=6, zorder=5, clip_on=False, **mark(curve.index, hollow=True))


def name_ends(view: Panel, curves: Sequence[Curve]) -> None:
    """Each name to the right of the end of its curve, moved apart where ends meet."""
    ends = [view.place(*curve.points[-1]) for curve in curves]
    places = spread([y for _, y in ends], 0.165, 0.0, view.height - 0.03)
    for curve, (x, y), place in zip(curves, ends, places, strict=True):
        xs = [x, max(x, view.width + 0.02), view.width + 0.14]
        view.axes.plot(
            [value / view.width for value in xs], [value / view.height for value in (y, y, place)],
            ":", color=FAINT, linewidth=0.8, clip_on=False, zorder=3, transform=view.axes.transAxes,
        )  # fmt: skip
        view.axes.plot(
            (view.width + 0.17) / view.width, place / view.height, markersize=5.5, clip_on=False, zorder=5,
            transform=view.axes.transAxes, **mark(curve.index),
        )  # fmt: skip
        view.write(view.width + 0.25, place, fitted(curve.name, 20))


def _shade(axes: "Axes", taken: Course, colours: tuple[str, str]) -> None:
    for number, (_, begin, end) in enumerate(taken):
        axes.axvspan(begin, end, facecolor=colours[number % 2], edgecolor="none", zorder=0)


def _number(strip: Panel, taken: Course, end: float) -> None:
    """The stage in each band that is wide enough for it."""
    for stage, begin, finish in taken:
        if (finish - begin) / end * strip.width > 0.065 * len(str(stage)) + 0.03:
            strip.write((begin + finish) / 2 / end * strip.width, strip.height / 2, str(stage), ha="center", fontsize=8)
