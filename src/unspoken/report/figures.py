"""The pictures of each section. A run keeps its colour and its shape in all of them, and its name stands beside it."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from unspoken.controls import control_named, in_order, taken_away
from unspoken.records import Evaluation
from unspoken.report.audit_figures import budget, costs
from unspoken.report.curves import health, loss, rewards, validation
from unspoken.report.findings import percent, with_interval
from unspoken.report.loss_parts import parts_of_loss
from unspoken.report.panel import WIDTH, Box, Panel, Picture, beside, colour, fitted, mark, panel, percent_axis
from unspoken.report.read import ReportedRun
from unspoken.report.svg import FAINT, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW, GAP = 0.2, 0.1


def pictures(runs: Sequence[ReportedRun]) -> list[Picture]:
    """What the answers show."""
    return [picture for kind in (controls, cost) if (picture := kind(runs))]


def pictures_of_audit(runs: Sequence[ReportedRun]) -> list[Picture]:
    """What changing the thoughts shows."""
    return [picture for kind in (costs, budget) if (picture := kind(runs))]


def pictures_of_training(runs: Sequence[ReportedRun]) -> list[Picture]:
    """How it was learned."""
    losses, checked = loss(runs), validation(runs)
    return [picture for picture in (losses, *parts_of_loss(runs), *rewards(runs), checked, *health(runs)) if picture]


def controls(runs: Sequence[ReportedRun]) -> Picture | None:
    """Accuracy beside that under each control: a group of bars for each run."""
    groups = [(index, run.label, _conditions(run)) for index, run in enumerate(runs) if run.results]
    if not groups:
        return None
    inside = sum(ROW * (len(conditions) + 1) + GAP for _, _, conditions in groups)

    def paint(figure: "Figure") -> None:
        view = panel(figure, 1.2, 0.45, WIDTH - 1.8, inside)
        view.axes.set(xlim=(0, 1), ylim=(0, inside), xlabel="accuracy")
        view.axes.yaxis.set_ticks([])
        percent_axis(view.axes, "x")
        y = inside - ROW / 2
        for index, name, conditions in groups:
            view.write(-1.13, y, fitted(name, 52), fontweight="bold", ha="left")
            for row, (condition, figures) in enumerate(conditions):
                y -= ROW
                _bar(view, figures, y, index, hollow=row > 0)
                view.write(-0.12, y, fitted(condition, 15), ha="right", color=FAINT)
                view.write(view.width + 0.1, y, percent(figures.accuracy), ha="left")
            y -= ROW + GAP

    alt = _sentence(
        f"{name}: " + ", ".join(f"{condition} {with_interval(figures)}" for condition, figures in conditions)
        for _, name, conditions in groups
    )
    changed = taken_away(name for run in runs if run.results for name in run.results.controls)
    title = f"Accuracy, and what is left without the {changed}"
    caption = (
        f"Filled: as trained. Hollow: the same questions, with something else in the place of the {changed}. "
        "Bars: 95% intervals."
    )
    return Picture("controls", draw("controls", f"{title}. {alt}", WIDTH, inside + 0.5, paint), title, caption)


def cost(runs: Sequence[ReportedRun]) -> Picture | None:
    """Accuracy against forward passes per answer; of one run alone it would be a single dot."""
    measured = [(index, run.label, run.results.figures) for index, run in enumerate(runs) if run.results]
    if len(measured) < 2:
        return None
    end = 1.12 * max(figures.passes_per_answer for _, _, figures in measured) or 1.0

    def paint(figure: "Figure") -> None:
        view = panel(figure, 0.55, 0.45, WIDTH - 0.7, 2.3)
        view.axes.set(xlim=(0, end), ylim=(-0.06, 1.1), xlabel="forward passes per answer, one after the other")
        percent_axis(view.axes, "y")
        points, taken = [], []
        for index, _, figures in measured:
            x = figures.passes_per_answer
            low, high = figures.interval
            view.axes.plot([x, x], [low, high], color=colour(index), linewidth=1.3, zorder=3)
            view.axes.plot(x, figures.accuracy, markersize=7, zorder=5, **mark(index))
            points.append(view.place(x, figures.accuracy))
            taken.append(_around(view.place(x, low), view.place(x, high)))
        names = [fitted(name, 26) for _, name, _ in measured]
        for name, box in zip(names, beside(points, taken, names, view.width), strict=True):
            on_the_right = box.left > points[names.index(name)][0]
            x = box.left if on_the_right else box.right
            view.write(x, (box.bottom + box.top) / 2, name, ha="left" if on_the_right else "right")

    alt = _sentence(
        f"{name}: {with_interval(figures)} in {figures.passes_per_answer:.1f} passes" for _, name, figures in measured
    )
    title = "Accuracy against the work for an answer"
    caption = "Up and to the left is better. A pass computes a thought or writes a token. Bars: 95% intervals."
    return Picture("cost", draw("cost", f"{title}. {alt}", WIDTH, 2.85, paint), title, caption)


def _conditions(run: ReportedRun) -> list[tuple[str, Evaluation]]:
    assert run.results, "only evaluated runs are drawn"
    under = [(control_named(name).short, run.results.controls[name]) for name in in_order(run.results.controls)]
    return [("as trained", run.results.figures), *under]


def _bar(view: Panel, figures: Evaluation, y: float, index: int, *, hollow: bool) -> None:
    low, high = figures.interval
    view.axes.plot([low, high], [y, y], color=colour(index), linewidth=1.5, solid_capstyle="butt", zorder=3)
    for end in (low, high):
        view.axes.plot([end, end], [y - 0.035, y + 0.035], color=colour(index), linewidth=1.6, zorder=3, clip_on=False)
    view.axes.plot(figures.accuracy, y, markersize=5.5, zorder=5, clip_on=False, **mark(index, hollow=hollow))


def _around(low: tuple[float, float], high: tuple[float, float]) -> Box:
    return Box(low[0] - 0.07, min(low[1], high[1] - 0.07), high[0] + 0.07, max(high[1], low[1] + 0.07))


def _sentence(parts: Iterable[str]) -> str:
    return "; ".join(parts) + "."
