"""Pictures of captions: what they are worth under each condition, beside captions that no model wrote."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unspoken.controls import control_named, in_order
from unspoken.report.captioned import CEILING, COPIED, FLOOR, TRAINED, Measure
from unspoken.report.findings import percent
from unspoken.report.panel import WIDTH, Panel, Picture, colour, fitted, mark, panel
from unspoken.report.read import ReportedRun
from unspoken.report.svg import FAINT, LINE, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW, GAP, LEFT, BOTTOM, TOP, BETWEEN = 0.2, 0.1, 1.45, 0.3, 0.25, 0.18


@dataclass(frozen=True, slots=True)
class Kind:
    """A measure of captions.

    Attributes:
        title: What it is called.
        show: A value as text.
        is_share: Whether it is a share of the captions.
    """

    title: str
    show: Callable[[float], str]
    is_share: bool = False


AGAINST: Mapping[str, Kind] = {
    "cider_d": Kind("CIDEr-D", "{:.2f}".format),
    "rouge_l": Kind("ROUGE-L", "{:.3f}".format),
    "bleu_4": Kind("BLEU-4", "{:.3f}".format),
    "clip_score": Kind("CLIPScore", "{:.3f}".format),
    "perplexity": Kind("perplexity of the reference", "{:.2f}".format),
}
"""Measures of captions beside something else, in the order in which they are told."""
WRITTEN: Mapping[str, Kind] = {
    "finished": Kind("whole and ended", percent, is_share=True),
    "whole": Kind("whole", percent, is_share=True),
    "ended": Kind("ended", percent, is_share=True),
    "words": Kind("words", "{:.1f}".format),
    "distinct_1": Kind("different words", "{:.3f}".format),
    "distinct_2": Kind("different pairs", "{:.3f}".format),
}
"""Measures of captions as such."""
DRAWN = {name: kind for name, kind in AGAINST.items() if name != "perplexity"}

WITHOUT_A_MODEL = {CEILING: "the reference", COPIED: "last caption copied", FLOOR: "another's reference"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A line of the table and of the picture.

    Attributes:
        title: Who wrote the captions, and under which condition.
        measures: Their figures.
        is_model: Whether the run wrote them.
    """

    title: str
    measures: Mapping[str, Measure]
    is_model: bool = True


def conditions_of(run: ReportedRun) -> list[Condition]:
    """All captions that were measured: as trained, under each control, and those without a model."""
    assert run.results, "only evaluated runs have captions"
    assert run.results.captions, "only runs that write captions have any measured"
    found = {name: dict(measures) for name, measures in run.results.captions.conditions.items()}
    for name, measures in run.results.foreseen.clip_score.items() if run.results.foreseen else ():
        if "clip_score" in measures:
            found.setdefault(name, {})["clip_score"] = measures["clip_score"]
    controls = in_order(name for name in found if name != TRAINED and name not in WITHOUT_A_MODEL)
    return [
        Condition("as trained", found[TRAINED]),
        *(Condition(control_named(name).short, found[name]) for name in controls),
        *(Condition(title, found[name], is_model=False) for name, title in WITHOUT_A_MODEL.items() if name in found),
    ]


def measured(conditions: Sequence[Condition], kinds: Mapping[str, Kind]) -> list[str]:
    """Those of some measures that any condition has, in their order."""
    return [name for name in kinds if any(name in each.measures for each in conditions)]


def pictures_of_captions(runs: Sequence[ReportedRun]) -> list[Picture]:
    """The captions of all runs: a group of lines for each, a panel for each measure."""
    groups = [
        (index, run.label, conditions_of(run)) for index, run in enumerate(runs) if run.results and run.results.captions
    ]
    names = measured([each for _, _, group in groups for each in group], DRAWN)
    if not names:
        return []
    inside = sum(ROW * (len(conditions) + 1) + GAP for _, _, conditions in groups)
    width = (WIDTH - LEFT - BETWEEN * len(names)) / len(names)

    def paint(figure: "Figure") -> None:
        for place, name in enumerate(names):
            view = panel(figure, LEFT + place * (width + BETWEEN), BOTTOM, width, inside)
            ends = [end for _, _, group in groups for each in group for end in _ends(each, name)]
            low, high = min(0.0, *ends), max(ends) or 1.0
            view.axes.set(xlim=(low, high + 0.04 * (high - low)), ylim=(0, inside))
            view.axes.yaxis.set_ticks([])
            view.axes.locator_params(axis="x", nbins=3, steps=[1, 2, 4, 5, 10])
            view.axes.xaxis.set_major_formatter("{x:g}")
            view.axes.grid(axis="x", color=LINE)
            view.write(0.0, inside + 0.08, AGAINST[name].title, fontweight="bold", ha="left")
            _paint_groups(view, groups, name, inside, with_names=place == 0)

    told = "; ".join(
        f"{label}: " + ", ".join(f"{each.title} {_told(each, names)}" for each in conditions)
        for _, label, conditions in groups
    )
    title = "Captions against their references"
    caption = (
        "Filled: as trained. Hollow: with something else in place of thoughts or images. Grey: written by no model; "
        "the dotted line is the last caption copied. Bars: 95% intervals."
    )
    svg = draw("captions-measured", f"{title}. {told}.", WIDTH, inside + BOTTOM + TOP, paint)
    return [Picture("captions-measured", svg, title, caption)]


def _paint_groups(
    view: Panel, groups: Sequence[tuple[int, str, Sequence[Condition]]], name: str, inside: float, *, with_names: bool
) -> None:
    y = inside - ROW / 2
    for index, label, conditions in groups:
        top = y - ROW / 2
        if with_names:
            view.write(-LEFT + 0.05, y, fitted(label, 52), fontweight="bold", ha="left")
        for row, condition in enumerate(conditions):
            y -= ROW
            if with_names:
                view.write(-0.12, y, fitted(condition.title, 20), ha="right", color=FAINT)
            if name in condition.measures:
                _line(view, condition, condition.measures[name], y, index, hollow=row > 0)
        copied = [each.measures.get(name) for each in conditions if each.title == WITHOUT_A_MODEL[COPIED]]
        for measure in copied:
            if measure is not None:
                view.axes.plot([measure.value] * 2, [y - ROW / 2, top], ":", color=FAINT, linewidth=0.9, zorder=2)
        y -= ROW + GAP


def _line(view: Panel, condition: Condition, measure: Measure, y: float, index: int, *, hollow: bool) -> None:
    style = mark(index, hollow=hollow)
    if not condition.is_model:
        style |= {"marker": "d", "markerfacecolor": FAINT, "markeredgecolor": FAINT}
    ink = colour(index) if condition.is_model else FAINT
    view.axes.plot(measure.interval, [y, y], color=ink, linewidth=1.5, solid_capstyle="butt", zorder=3)
    view.axes.plot(measure.value, y, markersize=5, zorder=5, clip_on=False, **style)


def _ends(condition: Condition, name: str) -> tuple[float, ...]:
    measure = condition.measures.get(name)
    return () if measure is None else (measure.value, *measure.interval)


def _told(condition: Condition, names: Sequence[str]) -> str:
    figures = [
        f"{AGAINST[name].title} {AGAINST[name].show(condition.measures[name].value)}"
        for name in names
        if name in condition.measures
    ]
    return ", ".join(figures)
