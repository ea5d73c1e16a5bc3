"""Pictures of an audit: what each change of the thoughts costs, and accuracy over the number of thoughts."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from unspoken.report.audited import Audit, Change
from unspoken.report.panel import WIDTH, Panel, Picture, colour, line_style, mark, panel, percent_axis
from unspoken.report.read import ReportedRun
from unspoken.report.svg import BAND, FAINT, INK, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW, HEADING, LEFT = 0.19, 0.24, 1.75

KINDS = {
    "content": "Content taken away",
    "words": "Words instead",
    "order": "Owner and order",
    "noise": "Noise on top",
    "single": "One thought at its mean",
    "direction": "Directions taken out",
    "cache": "Keys and values alone",
}
"""Kinds of interventions as headings, in the order in which they are drawn."""

LABELS = {
    "removed": "slots taken out",
    "aloud": "slots taken out, words free",
    "zero": "zeros",
    "mean": "the mean thought",
    "placeholder": "the slot token itself",
    "swap_other": "another answer's thoughts",
    "swap_same": "same answer's thoughts",
    "permuted": "another order",
    "cache_swap_other": "another answer's",
}


def label(name: str) -> str:
    """An intervention in a few words."""
    stem, _, number = name.rpartition("_")
    many = {"noise": f"noise, {number} x their length", "frozen": f"thought {number}"}
    many |= {"principal": f"{number} main", "random": f"{number} random"}
    return LABELS.get(name) or many.get(stem) or name


def costs(runs: Sequence[ReportedRun]) -> Picture | None:
    """A row for each intervention, a mark for each run: points of accuracy lost."""
    audits = [(index, run.label, run.audit) for index, run in enumerate(runs) if run.audit and run.audit.interventions]
    if not audits:
        return None
    names = {change.name: change.kind for _, _, audit in audits for change in audit.interventions}
    groups = [
        (KINDS.get(kind, kind), [name for name, _ in each])
        for kind, each in groupby(sorted(names.items(), key=_place), key=lambda item: item[1])
    ]
    row = ROW * max(1.0, 0.55 * len(audits))
    inside = sum(HEADING + row * len(members) for _, members in groups)
    lows = [change.cost_interval[0] for _, _, audit in audits for change in audit.interventions]
    start = min(-0.05, *lows)

    def paint(figure: "Figure") -> None:
        view = panel(figure, LEFT, 0.45, WIDTH - LEFT - 0.5, inside)
        view.axes.set(xlim=(start, 1.02), ylim=(0, inside), xlabel="points of accuracy lost, on the same questions")
        view.axes.yaxis.set_ticks([])
        ticks = [0, 0.25, 0.5, 0.75, 1]
        view.axes.set_xticks(ticks, ["0", "25", "50", "75", "100"])
        view.axes.grid(axis="x")
        margin = max(audit.margin for _, _, audit in audits)
        view.axes.axvspan(-margin, margin, facecolor=BAND, edgecolor="none", zorder=0)
        view.axes.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
        y = inside
        for heading, members in groups:
            y -= HEADING
            view.write(-LEFT + 0.05, y + 0.09, heading, ha="left", fontweight="bold")
            for name in members:
                y -= row
                view.write(-0.1, y + row / 2, label(name), ha="right", color=FAINT)
                _marks(view, audits, name, y, row)

    worst = "; ".join(f"{name}: {_told(audit)}" for _, name, audit in audits)
    title = "What it costs to change the thoughts"
    margin = 100 * max(audit.margin for _, _, audit in audits)
    caption = (
        f"Each mark: the same questions with the thoughts changed. Bars: 95% intervals of the paired difference. "
        f"Shaded: the margin of {margin:g} points that counts as none."
    )
    return Picture("costs", draw("costs", f"{title}. {worst}.", WIDTH, inside + 0.5, paint), title, caption)


def budget(runs: Sequence[ReportedRun]) -> Picture | None:
    """Accuracy when every question gets the same number of thoughts."""
    audits = [(index, run.label, run.audit) for index, run in enumerate(runs) if run.audit and run.audit.budget]
    if not audits:
        return None
    most = max(point.num_thoughts for _, _, audit in audits for point in audit.budget)

    def paint(figure: "Figure") -> None:
        view = panel(figure, 0.55, 0.45, WIDTH - 0.75, 2.1)
        view.axes.set(xlim=(-0.2, most + 0.2), ylim=(-0.04, 1.06), xlabel="thoughts given to each question")
        view.axes.set_xticks(range(0, most + 1, -(-most // 12)))
        percent_axis(view.axes, "y")
        for index, _, audit in audits:
            xs = [point.num_thoughts for point in audit.budget]
            ys = [point.accuracy for point in audit.budget]
            lows, highs = zip(*(point.interval for point in audit.budget), strict=True)
            view.axes.fill_between(xs, lows, highs, color=colour(index), alpha=0.16, linewidth=0, zorder=2)
            view.axes.plot(xs, ys, line_style(index), linewidth=1.4, markersize=5, zorder=4, **mark(index))
            for point in audit.budget:
                if point.trained:
                    view.axes.plot(
                        point.num_thoughts, point.accuracy, "o", markersize=11, markerfacecolor="none",
                        markeredgecolor=INK, markeredgewidth=1, zorder=5,
                    )  # fmt: skip

    alt = "; ".join(
        f"{name}: " + ", ".join(f"{point.accuracy:.1%} with {point.num_thoughts}" for point in audit.budget)
        for _, name, audit in audits
    )
    title = "Accuracy over the number of thoughts"
    caption = "As many thoughts for every question, and no more words than as trained. Ring: the trained number."
    return Picture("budget", draw("budget", f"{title}. {alt}.", WIDTH, 2.6, paint), title, caption)


def _place(item: tuple[str, str]) -> int:
    kinds = [*KINDS]
    return kinds.index(item[1]) if item[1] in kinds else len(kinds)


def _marks(view: Panel, audits: Sequence[tuple[int, str, Audit]], name: str, y: float, row: float) -> None:
    lanes = row / (len(audits) + 1)
    for lane, (index, _, audit) in enumerate(audits, 1):
        change = next((each for each in audit.interventions if each.name == name), None)
        if change is None:
            continue
        height = y + row - lane * lanes
        low, high = change.cost_interval
        view.axes.plot([low, high], [height, height], color=colour(index), linewidth=1.5, zorder=3)
        view.axes.plot(change.cost, height, markersize=5.5, zorder=5, clip_on=False, **mark(index))
        if len(audits) == 1:
            view.write(view.width + 0.08, height, f"{100 * change.cost:.1f}", ha="left")


def _told(audit: Audit) -> str:
    def text(change: Change) -> str:
        return f"{label(change.name)} {100 * change.cost:.1f} points"

    return ", ".join(text(change) for change in audit.interventions)
