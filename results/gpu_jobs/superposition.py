"""Reasoning by Superposition at the paper's size: how long to the goal, how accurate, and are the thoughts needed?"""

from collections.abc import Sequence
from pathlib import Path

from gpu_jobs.call import Call
from gpu_jobs.training import Training, figures, necessity

from unspoken.evaluation.paired import across_seeds

RECIPE = "prosqa/superposition"


def superposition(call: Call, seeds: Sequence[int], changes: Sequence[str], released: Path | None) -> None:
    """Train, measure and audit one model after the other.

    Args:
        call: This call.
        seeds: Of the models; the data is that of the recipe.
        changes: In the recipe.
        released: Released rows in symbols.
    """
    with call.results("superposition", {"recipe": RECIPE, "seeds": list(seeds)}) as results:
        found = results["by_seed"] = {}
        for seed in seeds:
            what = Training(f"superposition-{seed}", RECIPE, (*changes, f"train.seed={seed}"))
            found[str(seed)] = figures(call, what, released)
            found[str(seed)]["audit"] = necessity(call, what)
        if len(seeds) > 1:
            values = {
                "accuracy": [each["test"]["accuracy"] for each in found.values()],
                "cost_of_the_mildest_replacement": [each["audit"]["necessity"]["cost"] for each in found.values()],
                "seconds": [each["training"]["seconds"] for each in found.values()],
            }
            if released is not None:
                values["accuracy_on_released_rows"] = [each["released"]["accuracy"] for each in found.values()]
            results["over_seeds"] = {name: _over(each) for name, each in values.items()}


def _over(values: Sequence[float]) -> dict[str, object]:
    mean, interval = across_seeds(values)
    return {"mean": mean, "interval": list(interval), "values": list(values)}
