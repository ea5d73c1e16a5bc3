"""The tables of two papers, small enough for two cores: `make small`, or `python results/small.py --seeds 0 1`.

Seven ways to train on ProsQA in symbols, up to 14 nodes and 3 hops, from scratch, on the same rows and for as many
steps: those of arXiv:2412.06769 and superposition (arXiv:2505.12514). Settings are those of prosqa/small, tuned for
none of them; the test split is asked once. Those that have slots are audited: are their thoughts needed? Everything is
written to one file; runs that are there already are not trained again. `make gpu` is for the sizes of the papers.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from once import audited, difference, measured, trained, written

RUNS = Path("runs/small")
OUT = Path("results/small.json")
RECIPE = "prosqa/small"

SAME = ["train.epochs=40"]
STAGES = "epochs_per_stage: [20, 6, 6, 8]"
COCONUT = f"method={{name: coconut, redraw: true, max_stage: 3, {STAGES}}}"
METHODS = {
    "cot": ["method={name: cot, redraw: true}"],
    "no_cot": ["method={name: no_cot, redraw: true}"],
    "icot": ["method={name: icot, redraw: true, full_epochs: 14, remove_per_epoch: 0.167}"],
    "coconut": [COCONUT],
    "pause": [COCONUT, "thoughts.name=pause"],
    "no_curriculum": ["method={name: coconut, redraw: true, max_stage: 3, epochs_per_stage: 0}"],
    "superposition": [f"method={{name: superposition, max_stage: 3, {STAGES}}}"],
}
"""What is compared: what is changed in the recipe for each. A word of iCoT goes when a step of Coconut does."""
THINKING = "coconut"
WITH_SLOTS = (THINKING, "pause", "no_curriculum", "superposition")
KEPT = ("accuracy", "interval", "n", "controls", "outcomes", "thoughts_per_answer", "tokens_per_answer")
KEPT_OF_AUDIT = ("necessity", "comparisons", "counterfactuals", "command")


def compared(seed: int, methods: Sequence[str]) -> dict[str, Any]:
    """Figures and audits of every method on the questions and from the weights of one seed."""
    same = [f"task.seed={seed}", f"train.seed={seed}"]
    runs = {name: trained(RUNS / f"{name}-{seed}", RECIPE, [*METHODS[name], *SAME, *same]) for name in methods}
    found = {name: measured(run, KEPT) for name, run in runs.items()}
    steps = {each["steps"] for each in found.values()}
    assert len(steps) == 1, f"the methods took different numbers of steps: {steps}"
    for name, run in runs.items():
        if name != THINKING:
            found[name]["behind_coconut"] = difference(runs[THINKING], run)
        if name in WITH_SLOTS:
            others = [other for other in runs.values() if other != run]
            found[name]["audit"] = audited(run, KEPT_OF_AUDIT, others if name == THINKING else [])
    return found


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the questions and of the models")
    further = [name for name in METHODS if name != THINKING]
    parser.add_argument("--beside", nargs="*", choices=further, default=further, help="what is trained beside coconut")
    asked = parser.parse_args()
    methods = [THINKING, *asked.beside]
    seeds = {str(seed): compared(seed, methods) for seed in asked.seeds}
    written(OUT, "small.py", sys.argv[1:], recipe=RECIPE, seeds=seeds)


if __name__ == "__main__":
    main()
