"""Does a model think about what it sees? `make shapes`, or `python results/shapes.py --follow relations --seeds 0 1`.

For each seed, of the questions and of the models: eyes learn to tell what is in a picture, then every method goes on
with the same eyes, on the same pictures and for as many steps: thoughts, the answer at once, pauses for thoughts, no
slots at all, and thoughts without eyes. Settings were chosen on the validation split; the test split is asked once, and
the one that thinks is audited on it. Everything is written to one file; runs that are there already are not trained
again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from once import audited, measured, trained, written

RUNS = Path("runs/shapes")
OUT = Path("results/shapes.json")

EYES = "scene"
THINKING = "coconut"
METHODS = {
    THINKING: ("shapes/coconut", []),
    "no_cot": ("shapes/no_cot", []),
    "pause": ("shapes/coconut", ["thoughts.name=pause"]),
    "words_only": ("shapes/coconut", ["model.path=null", "model.vision=null"]),
    "markers_only": ("shapes/coconut", ["method.thoughts_per_step=0", "method.markers=true"]),
}
"""What is compared, by the name of its figures: a recipe, and what is changed in it."""
KEPT = ("accuracy", "interval", "n", "chance", "majority", "controls", "thoughts_per_answer", "tokens_per_answer")
KEPT_OF_AUDIT = ("necessity", "questions", "interventions", "comparisons", "counterfactuals", "shifts", "command")


def compared(follow: str, seed: int, methods: Sequence[str]) -> dict[str, Any]:
    """All figures of one seed on one kind of questions: of each method, and the audit of the one that thinks."""
    same = [f"task.follow={follow}", f"task.seed={seed}", f"train.seed={seed}"]
    eyes = trained(RUNS / f"{follow}-{seed}-{EYES}", "shapes/scene", same)
    runs = {
        name: trained(RUNS / f"{follow}-{seed}-{name}", recipe, [f"model.path={eyes}", *own, *same])
        for name, (recipe, own) in METHODS.items()
        if name in methods
    }
    figures = {name: measured(run, KEPT) for name, run in {EYES: eyes, **runs}.items()}
    thinking = runs.pop(THINKING)
    return {"methods": figures, "audit": audited(thinking, KEPT_OF_AUDIT, list(runs.values()))}


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--follow", nargs="+", choices=["relations", "arrows"], default=["arrows"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    further = [name for name in METHODS if name != THINKING]
    parser.add_argument("--beside", nargs="*", choices=further, default=further, help="what is trained beside coconut")
    parser.add_argument("--out", type=Path, default=OUT, help=f"default: {OUT}")
    asked = parser.parse_args()
    methods = [THINKING, *asked.beside]
    found = {follow: {str(seed): compared(follow, seed, methods) for seed in asked.seeds} for follow in asked.follow}
    written(asked.out, "shapes.py", sys.argv[1:], **found)


if __name__ == "__main__":
    main()
