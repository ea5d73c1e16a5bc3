"""Pictures of what a loss is made of, and of an adversary beside it, while training: panels of one run each."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from unspoken.report.curves import MAX_POINTS, Curve, averaged, course, in_words, is_wide, over_steps, picture_of
from unspoken.report.inline import apart
from unspoken.report.panel import Picture, fitted, percent_axis
from unspoken.report.read import ReportedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARE = "accuracy"
"""How the names of shares end."""
PREFIXES: Mapping[str, str] = {"loss_": "", "adversary_": "", "eval_adversary_": "held-out "}
"""How names of columns begin, and what stands in a picture instead."""

KINDS: Mapping[str, tuple[str, str, Callable[[str], bool]]] = {
    "parts": ("Parts of the loss", "As they were logged.", lambda name: name.startswith("loss_")),
    "adversary": (
        "The adversary",
        "Its loss, and the scores that it gives to captions, as they were logged.",
        lambda name: not name.startswith("loss_") and not name.endswith(SHARE),
    ),
    "told-apart": (
        "What the adversary tells apart",
        "Share of captions that score lower than the true ones beside them; at 50% it cannot tell them apart.",
        lambda name: name.endswith(SHARE),
    ),
}
"""The panels: what each is about, how to read it, and which columns stand in it."""


def parts_of_loss(runs: Sequence[ReportedRun]) -> list[Picture]:
    """The columns of each log that are parts of a loss or tell of an adversary."""
    found = [_panel(index, run, kind) for index, run in enumerate(runs) for kind in KINDS]
    return [picture for picture in found if picture]


def _panel(index: int, run: ReportedRun, kind: str) -> Picture | None:
    about, caption, belongs = KINDS[kind]
    names = [name for name in dict.fromkeys(name for line in run.lines for name in line.parts) if belongs(name)]
    taken = course(run.lines, lambda line: line.step)
    curves = []
    for place, name in enumerate(names):
        points = [(float(line.step), line.parts[name]) for line in run.lines if name in line.parts]
        curves.append(Curve(place, _title(name), averaged(points, MAX_POINTS), (), taken))
    if not curves:
        return None
    values = [y for curve in curves for _, y in curve.points]
    shares = kind == "told-apart"
    scale = _as_shares if shares else over_steps(values)
    title = f"{about} of {apart(fitted(run.label, 24))}"
    caption += " Logarithmic scale." if not shares and is_wide(values) else ""
    return picture_of(f"{kind}-{index}", title, caption, in_words(curves), curves, scale)


def _as_shares(axes: "Axes") -> None:
    axes.set_xlabel("optimizer step")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(-0.02, 1.02)
    percent_axis(axes, "y")


def _title(name: str) -> str:
    prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
    rest = name.removeprefix(prefix).removesuffix(SHARE).strip("_")
    return PREFIXES[prefix] + (rest.replace("_", " ") or "generated")
