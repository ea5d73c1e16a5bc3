"""Pictures of what thoughts hold: lens, search, probes, geometry, paths, inner products, outcomes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from unspoken.report.inline import apart
from unspoken.report.inspected import Geometry, Inspection
from unspoken.report.panel import WIDTH, Panel, Picture, colour, fitted, line_style, mark, panel, percent_axis
from unspoken.report.read import ReportedRun
from unspoken.report.svg import FAINT, INK, LINE, PAPER, SERIES, draw, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Interval: TypeAlias = tuple[float, float]
Looked: TypeAlias = tuple[int, ReportedRun, Inspection]
"""Position of a run in the report, the run, and its inspection."""

READABLE = 0.09
"""Shares from here on are written into their bars."""
CLASSES = ("optimal", "frontier", "reachable", "unreachable")


@dataclass(frozen=True, slots=True)
class Point:
    """A share beside its control.

    Attributes:
        x: Number of the thought, or of thoughts.
        share: What was measured.
        interval: Its interval.
        control: What it is held against.
        control_interval: Its interval.
    """

    x: int
    share: float
    interval: Interval
    control: float
    control_interval: Interval


def pictures_of_contents(runs: Sequence[ReportedRun]) -> list[Picture]:
    """Every picture for which the runs have something to show."""
    looked = [(index, run, run.inspection) for index, run in enumerate(runs) if run.inspection]
    if not looked:
        return []
    shared = (_lens(looked), _frontier(looked), _probe(looked, "its own step"), _probe(looked, "the answer"))
    each = (kind(*run) for run in looked for kind in (_outcomes, _inner_products, _paths))
    return [picture for picture in (*shared, _geometry(looked), *each) if picture]


def _lens(looked: Sequence[Looked]) -> Picture | None:
    points = {
        index: [
            Point(each.thought, each.top1, each.interval, each.shuffled_top1, each.shuffled_interval)
            for each in inspection.lens
        ]
        for index, _, inspection in looked
    }
    title = "What the head reads from a thought"
    caption = (
        "Share of questions whose likeliest word at a thought is one that a perfect reasoner may hold there. Hollow: "
        "with what another question's thought should hold. It shows what can be read, not what is used."
    )
    return _beside_control("lens", title, caption, "thought", looked, points)


def _frontier(looked: Sequence[Looked]) -> Picture | None:
    points = {
        index: [
            Point(each.num_thoughts, each.auc, each.interval, each.shuffled_auc, each.shuffled_interval)
            for each in inspection.frontier or ()
        ]
        for index, _, inspection in looked
    }
    title = "How well the values of nodes show the frontier of the search"
    caption = (
        "Probability that a node which a correct search may hold next has a larger value than one that it may not "
        "(area under the curve; chance is 50%). Hollow: as many nodes drawn at random."
    )
    return _beside_control("frontier", title, caption, "thoughts before it must answer", looked, points)


def _probe(looked: Sequence[Looked], target: str) -> Picture | None:
    points = {
        index: [
            Point(each.thought, each.accuracy, each.interval, each.control_accuracy, each.control_interval)
            for each in inspection.probes
            if each.target == target
        ]
        for index, _, inspection in looked
    }
    title = f"What a linear probe reads off a thought: {target}"
    caption = (
        "Accuracy on questions that it was not fitted on. Hollow: the same probe on the words of the question, in any "
        "order; what is read off a thought no better than that needs no thought."
    )
    return _beside_control(f"probe-{target.split()[-1]}", title, caption, "thought", looked, points)


def _beside_control(
    name: str, title: str, caption: str, across: str, looked: Sequence[Looked], points: dict[int, list[Point]]
) -> Picture | None:
    """Shares over thoughts, filled, beside their controls, hollow."""
    xs = [point.x for each in points.values() for point in each]
    if not xs:
        return None

    def paint(figure: "Figure") -> None:
        view = panel(figure, 0.55, 0.45, WIDTH - 0.7, 1.9)
        _thought_axis(view, min(xs), max(xs), across)
        view.axes.set_ylim(-0.04, 1.06)
        percent_axis(view.axes, "y")
        for place, (index, _, _) in enumerate(looked):
            aside = 0.07 * (place - (len(looked) - 1) / 2)
            for point in points[index]:
                for share, interval, hollow in (
                    (point.control, point.control_interval, True),
                    (point.share, point.interval, False),
                ):
                    x = point.x + aside
                    view.axes.plot([x, x], interval, color=colour(index), linewidth=1.3, zorder=3)
                    view.axes.plot(x, share, markersize=6, zorder=5, clip_on=False, **mark(index, hollow=hollow))

    alt = "; ".join(
        f"{run.label}: "
        + ", ".join(f"{each.share:.1%} at {each.x} (control {each.control:.1%})" for each in points[index])
        for index, run, _ in looked
        if points[index]
    )
    return Picture(name, draw(name, f"{title}. {alt}.", WIDTH, 2.4, paint), title, caption)


def _geometry(looked: Sequence[Looked]) -> Picture | None:
    kinds: Sequence[tuple[str, Callable[[Geometry], Sequence[float]]]] = (
        ("length ratio", lambda cloud: [norm.mean / cloud.embedding_norm.mean for norm in cloud.norms]),
        ("mean cosine", lambda cloud: cloud.cosine),
        ("effective rank", lambda cloud: cloud.effective_rank),
    )
    most = max(len(each.geometry.norms) for _, _, each in looked)
    width = (WIDTH - 0.3 - 3 * 0.42) / 3

    def paint(figure: "Figure") -> None:
        for place, (heading, values) in enumerate(kinds):
            view = panel(figure, 0.4 + place * (width + 0.45), 0.45, width, 1.5)
            _thought_axis(view, 1, most, "thought")
            view.axes.grid(axis="y", color=LINE)
            view.write(0, 1.65, heading, ha="left", fontweight="bold")
            for index, _, inspection in looked:
                numbers = values(inspection.geometry)
                xs = range(1, len(numbers) + 1)
                view.axes.plot(xs, numbers, line_style(index), linewidth=1.3, markersize=5, zorder=4, **mark(index))
            low, high = view.axes.get_ylim()
            view.axes.set_ylim(min(low, 0.0), high * 1.05 if high > 0 else 0.05)

    alt = "; ".join(
        f"{run.label}: "
        + ", ".join(
            f"{heading} {', '.join(f'{value:.2f}' for value in values(each.geometry))}" for heading, values in kinds
        )
        for _, run, each in looked
    )
    title = "The shape of the cloud of thoughts"
    caption = (
        "Over questions, for each thought: length over that of embeddings of words; cosine between two questions (1: "
        "all the same); in about how many directions they differ."
    )
    return Picture("geometry", draw("geometry", f"{title}. {alt}.", WIDTH, 2.2, paint), title, caption)


def _paths(index: int, run: ReportedRun, inspection: Inspection) -> Picture | None:
    pca = inspection.geometry.pca
    count = len(pca.paths[0]) if pca.paths else 0
    if not count or len(pca.explained) < 2:
        return None
    answers = sorted(set(pca.answers))

    def paint(figure: "Figure") -> None:
        view = panel(figure, 0.2, 0.45, WIDTH - 0.4, 2.6)
        view.axes.set_xticks([])
        view.axes.set_yticks([])
        view.axes.set(xlabel=f"{pca.explained[0]:.0%} of the variance", ylabel=f"{pca.explained[1]:.0%}")
        for path, answer in zip(pca.paths, pca.answers, strict=True):
            xs, ys = zip(*path, strict=True)
            view.axes.plot(xs, ys, "-", color=LINE, linewidth=0.6, zorder=2)
            for k, (x, y) in enumerate(path):
                # the last thought carries its answer; those before fade towards the first
                if k == count - 1 and len(answers) <= 26 and all(len(each) <= 3 for each in answers):
                    view.axes.text(
                        x, y, printable(answer), ha="center", va="center_baseline", fontsize=8, color=INK,
                        parse_math=False, zorder=6,
                    )  # fmt: skip
                else:
                    view.axes.plot(
                        x, y, "o", markersize=4.5, color=colour(k % len(SERIES)), markeredgecolor=PAPER,
                        markeredgewidth=0.4, zorder=4,
                    )  # fmt: skip
        for k in range(count):
            x = 0.1 + 0.75 * (k % 6)
            y = 2.55 - 0.17 * (k // 6)
            view.axes.plot(x / view.width, y / view.height, "o", markersize=4.5, color=colour(k % len(SERIES)), transform=view.axes.transAxes, clip_on=False)  # fmt: skip  # noqa: E501
            view.write(x + 0.08, y, f"thought {k + 1}", ha="left", fontsize=8, color=FAINT)

    title = f"Paths of thoughts{_of(run)}"
    caption = (
        f"{len(pca.paths)} questions in the two directions in which all thoughts differ most; a line joins the "
        "thoughts of a question. Short answers stand at the last thought."
    )
    name = f"paths-{index}"
    return Picture(name, draw(name, f"{title}.", WIDTH, 3.1, paint), title, caption)


def _inner_products(index: int, run: ReportedRun, inspection: Inspection) -> Picture | None:
    found = inspection.inner_products
    if not found:
        return None
    edges = found.edges
    height = 0.62
    inside = height * len(found.thoughts)

    def paint(figure: "Figure") -> None:
        for row, each in enumerate(found.thoughts):
            view = panel(figure, 0.8, 0.45 + inside - height * (row + 1), WIDTH - 1.0, height - 0.12)
            view.axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.1))
            view.axes.yaxis.set_ticks([])
            if row < len(found.thoughts) - 1:
                view.axes.set_xticks([])
            else:
                view.axes.set_xlabel("inner product of the thought with the embedding of a node")
            view.write(-0.1, (height - 0.12) / 2, f"thought {each.thought}", ha="right", color=FAINT)
            for kind, style in zip(CLASSES, ("-", "--", "-.", ":"), strict=True):
                if kind in each.classes:
                    counts = each.classes[kind].counts
                    top = max(counts) or 1
                    shares = [count / top for count in counts]
                    view.axes.stairs(
                        shares, edges, color=colour(CLASSES.index(kind)), linestyle=style, linewidth=1.3, zorder=4
                    )
                    view.axes.plot([each.classes[kind].mean], [1.04], "v", markersize=4, color=colour(CLASSES.index(kind)), zorder=5)  # fmt: skip  # noqa: E501
        legend = panel(figure, 0.8, 0.45 + inside, WIDTH - 1.0, 0.2)
        legend.axes.axis("off")
        for place, (kind, style) in enumerate(zip(CLASSES, ("-", "--", "-.", ":"), strict=True)):
            x = place * 0.98
            legend.axes.plot([x / legend.width, (x + 0.22) / legend.width], [0.5, 0.5], style, color=colour(place), transform=legend.axes.transAxes)  # fmt: skip  # noqa: E501
            legend.write(x + 0.27, 0.1, kind, ha="left", fontsize=8)

    told = "; ".join(
        f"thought {each.thought}: " + ", ".join(f"{kind} {value.mean:.2f}" for kind, value in each.classes.items())
        for each in found.thoughts
    )
    title = f"Thoughts against the nodes of the graph{_of(run)}"
    caption = (
        "Distribution over nodes and questions, each as high as its peak; the mark is its mean. Optimal: next on a "
        "shortest path; frontier: at that distance otherwise; reachable: nearer; unreachable: farther."
    )
    name = f"inner-products-{index}"
    svg = draw(name, f"{title}. Means: {told}.", WIDTH, inside + 0.75, paint)
    return Picture(name, svg, title, caption)


def _outcomes(index: int, run: ReportedRun, inspection: Inspection) -> Picture | None:
    classes = sorted({name for each in inspection.outcomes for name in each.classes}, key=_how_good)
    if not classes:
        return None
    row = 0.22
    inside = row * len(inspection.outcomes)
    legend = 0.17 * -(-len(classes) // 3)

    def paint(figure: "Figure") -> None:
        view = panel(figure, 0.85, 0.45, WIDTH - 1.35, inside)
        view.axes.set(xlim=(0, 1), ylim=(0, inside), xlabel="share of the questions")
        view.axes.yaxis.set_ticks([])
        percent_axis(view.axes, "x")
        for place, each in enumerate(inspection.outcomes):
            y, left = inside - row * (place + 1) + 0.03, 0.0
            view.write(-0.08, y + row / 2 - 0.03, _thoughts(each.num_thoughts), ha="right", color=FAINT)
            view.write(view.width + 0.06, y + row / 2 - 0.03, f"{each.tokens_per_answer:.1f}", ha="left", color=FAINT)
            for number, name in enumerate(classes):
                share = each.classes.get(name, 0.0)
                view.axes.barh(
                    y + (row - 0.06) / 2, share, row - 0.06, left=left, color=colour(number), edgecolor=PAPER,
                    linewidth=0.6, zorder=3,
                )  # fmt: skip
                if share >= READABLE:
                    x = (left + share / 2) * view.width
                    view.write(x, y + row / 2 - 0.03, f"{share:.0%}", ha="center", fontsize=8, color=PAPER)
                left += share
        view.write(view.width + 0.06, inside + 0.08, "words", ha="left", color=FAINT, fontsize=8)
        for number, name in enumerate(classes):
            x, y = -0.8 + 1.5 * (number % 3), inside + 0.08 + legend - 0.17 * (number // 3)
            view.axes.barh(
                y, 0.16 / view.width, 0.1, left=x / view.width, color=colour(number), edgecolor=PAPER,
                linewidth=0.5, clip_on=False, zorder=3,
            )  # fmt: skip
            view.write(x + 0.21, y, fitted(name, 20), ha="left", fontsize=8)
        view.axes.set(xlim=(0, 1), ylim=(0, inside))

    told = "; ".join(
        f"{_thoughts(each.num_thoughts)}: " + ", ".join(f"{name} {share:.1%}" for name, share in each.classes.items())
        for each in inspection.outcomes
    )
    title = f"What becomes of a question{_of(run)}"
    caption = (
        "The model must write after so many thoughts, and may write as much as it likes; mean tokens on the right."
    )
    name = f"outcomes-{index}"
    return Picture(name, draw(name, f"{title}. {told}.", WIDTH, inside + legend + 0.7, paint), title, caption)


def _thought_axis(view: Panel, first: int, last: int, title: str) -> None:
    view.axes.set(xlim=(first - 0.4, last + 0.4), xlabel=title)
    view.axes.set_xticks(range(first, last + 1, -(-(last - first + 1) // 10)))


def _thoughts(count: int) -> str:
    return "1 thought" if count == 1 else f"{count} thoughts"


def _of(run: ReportedRun) -> str:
    return f" of {apart(fitted(run.label, 24))}"


def _how_good(name: str) -> tuple[int, str]:
    """Right answers first, none last."""
    order: dict[str, Literal[0, 1, 3]] = {"right": 0, "correct path": 0, "correct label": 1, "no answer": 3}
    return (order.get(name, 2), name)
