"""The table of Coconut's paper from scratch: six ways to train on ProsQA in words, equal data and equal steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_jobs.call import Call
from gpu_jobs.training import Training, figures, necessity

METHODS = ("cot", "no_cot", "coconut", "pause", "no_curriculum", "icot")
THINKING = "coconut"
WITH_SLOTS = (THINKING, "pause", "no_curriculum")


def table(call: Call, shapes: Mapping[str, Sequence[str]], changes: Sequence[str], released: Path | None) -> None:
    """Train and measure every method in every shape, then audit those that have slots.

    Args:
        call: This call.
        shapes: What is changed in the recipes for each shape of model.
        changes: What is changed for all.
        released: Released rows in words.
    """
    with call.results("prosqa", {"methods": list(METHODS)}) as results:
        found = results["by_shape"] = {}
        for shape, own in shapes.items():
            trainings = {
                method: Training(f"prosqa-{shape}-{method}", f"prosqa/{method}", (*own, *changes)) for method in METHODS
            }
            found[shape] = {}
            for method, what in trainings.items():
                found[shape][method] = figures(call, what, released)
            steps = {each["training"]["steps"] for each in found[shape].values()}
            assert len(steps) == 1, f"the methods of {shape} took different numbers of steps: {steps}"
            for method in WITH_SLOTS:
                others = [call.runs / each.name for name, each in trainings.items() if name != method]
                against = others if method == THINKING else []
                found[shape][method]["audit"] = necessity(call, trainings[method], against)
