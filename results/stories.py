"""What happens next, and what helps to tell it? `make stories`, or `python results/stories.py [--seeds 0 1 2]`.

begin          eyes: what stands in a frame; then stories with a plan in words; and a CLIP, the space of the heads
what is needed from there the next caption at once, from frames and words, words alone, frames alone; or copied
thoughts       from there with the plan in words, in thoughts: as many steps for each
adversaries    for each seed a model stops early and goes on: with three adversaries, and without for as many steps

Settings were chosen on the validation split; the test split is asked once. Everything is written to
results/stories.json; runs that are there already are not trained again.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from once import audited, difference, measured, trained, written

from unspoken.evaluation.paired import across_seeds
from unspoken.files import read_json_lines

RUNS = Path("runs/stories")
OUT = Path("results/stories.json")

EYES, BEGIN, SPACE, PLANS, WITHOUT = "frame", "begin", "clip", "coconut", "no_cot"
WORDS_ALONE = ["task.context=words", "model.vision=null", "evaluate.controls=[]"]
FRAMES_ALONE = ["task.context=images", "evaluate.controls=[no_image,shuffled_images]"]
METHODS = {
    WITHOUT: ("toy_stories/no_cot", []),
    "words_alone": ("toy_stories/no_cot", WORDS_ALONE),
    "frames_alone": ("toy_stories/no_cot", FRAMES_ALONE),
    "cot": ("toy_stories/no_cot", ["method.name=cot"]),
    PLANS: ("toy_stories/coconut", []),
}
"""What goes on from the same model for as many steps, by the name of its figures: a recipe, and what is changed."""
ALONE = ["evaluate.controls=[]"]
EARLY = ("toy_stories/no_cot", ["train.epochs=1", "train.lr_schedule=constant", *ALONE])
ADVERSARIES = {
    "matched": ("toy_stories/naive", ["adversary=null", *ALONE]),
    "naive": ("toy_stories/naive", ALONE),
    "cached": ("toy_stories/cached", ALONE),
    "hard_negative": ("toy_stories/hard_negative", ALONE),
}
"""What goes on from that for as many steps."""
KEPT = ("accuracy", "interval", "soft_accuracy", "soft_interval", "n", "captions", "foreseen", "controls")
KEPT_OF_AUDIT = ("necessity", "questions", "interventions", "comparisons", "counterfactuals", "command")


def learned(seed: int) -> tuple[dict[str, Any], Path, Path]:
    """Figures of eyes, space and methods; the runs that begin and of the space."""
    same = [f"task.seed={seed}", f"train.seed={seed}"]
    eyes = trained(RUNS / f"{EYES}-{seed}", "toy_stories/frame", same)
    begin = trained(RUNS / f"{BEGIN}-{seed}", "toy_stories/cot", [f"model.path={eyes}", *same])
    space = trained(RUNS / f"{SPACE}-{seed}", "toy_stories/clip", same)
    found = {EYES: measured(eyes, KEPT), BEGIN: measured(begin, KEPT), SPACE: _retrieved(space)}
    runs = {
        name: trained(RUNS / f"{name}-{seed}", recipe, [*_begin(begin, space), *changes, *same])
        for name, (recipe, changes) in METHODS.items()
    }
    found |= {name: measured(run, KEPT) for name, run in runs.items()}
    for name, run in runs.items():
        if name != WITHOUT:
            found[name]["behind_no_cot"] = difference(runs[WITHOUT], run)
    plans = runs.pop(PLANS)
    return found | {"audit": audited(plans, KEPT_OF_AUDIT, [runs[WITHOUT], runs["cot"]])}, begin, space


def _begin(run: Path, space: Path) -> list[str]:
    return [f"model.path={run}", f"model.embedding_heads.space={space}"]


def _retrieved(space: Path) -> dict[str, Any]:
    return measured(space, ("image_to_text", "text_to_image", "chance_1", "n", "candidates"))


def adversaries(seed: int, begin: Path, space: Path) -> dict[str, Any]:
    """What each adversary brings over as many steps without one."""
    same = [f"train.seed={seed}"]
    recipe, changes = EARLY
    early = trained(RUNS / f"early-{seed}", recipe, [*_begin(begin, space), *changes, *same])
    runs = {
        name: trained(RUNS / f"{name}-{seed}", recipe, [*_begin(early, space), *changes, *same])
        for name, (recipe, changes) in ADVERSARIES.items()
    }
    found = {"early": measured(early, KEPT)} | {name: measured(run, KEPT) for name, run in runs.items()}
    for name, run in runs.items():
        if name != "matched":
            found[name]["over_matched"] = difference(run, runs["matched"])
            lines = [line for line in read_json_lines(run / "metrics.jsonl") if "eval_adversary_accuracy" in line]
            found[name]["discriminator"] = {key: lines[-1][key] for key in lines[-1] if "adversary" in key}
    return found


def over_seeds(by_seed: dict[str, Any]) -> dict[str, Any]:
    """Mean gain of each adversary over the steps without one, with its t interval over seeds, of several figures."""
    found: dict[str, Any] = {}
    for name in ADVERSARIES:
        if name == "matched":
            continue
        pairs = [(each[name], each["matched"]) for each in by_seed.values()]
        gains = {
            "accuracy": [one["accuracy"] - other["accuracy"] for one, other in pairs],
            "cider_d": [_caption(one, "cider_d") - _caption(other, "cider_d") for one, other in pairs],
            "perplexity": [_caption(one, "perplexity") - _caption(other, "perplexity") for one, other in pairs],
            "clip_score": [_clip_score(one) - _clip_score(other) for one, other in pairs],
        }
        found[name] = {key: {"values": values, **_over(values)} for key, values in gains.items()}
    return found


def _caption(figures: dict[str, Any], metric: str) -> float:
    return float(figures["captions"]["conditions"]["none"][metric]["value"])


def _clip_score(figures: dict[str, Any]) -> float:
    return float(figures["foreseen"]["clip_score"]["none"]["clip_score"]["value"])


def _over(values: list[float]) -> dict[str, Any]:
    if len(values) < 2:
        return {"mean": values[0]}
    mean, interval = across_seeds(values)
    return {"mean": mean, "interval": list(interval)}


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the adversaries; the rest has one")
    asked = parser.parse_args()
    found, begin, space = learned(asked.seeds[0])
    by_seed = {str(seed): adversaries(seed, begin, space) for seed in asked.seeds}
    against_none = {"seeds": by_seed, "over_matched": over_seeds(by_seed)}
    written(OUT, "stories.py", sys.argv[1:], learned=found, adversaries=against_none)


if __name__ == "__main__":
    main()
