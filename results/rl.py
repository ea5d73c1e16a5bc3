"""What rewards teach a model that more supervised steps do not, or do: `make rl`, or `python results/rl.py [SEED ...]`.

For each seed, of the models and of all that is left to chance:

gain         a half-learned model goes on by PPO, by GRPO, by GRPO with the rewards of others (the control) and by as
             many supervised steps; all are asked the same test questions once
halting      a model that always thinks four times learns, on questions of one to four hops, when to stop; beside it
             the number of hops, and the smallest number of thoughts with which it is right, tried out for every row
trajectories several trains of thought for each question, fused; beside a chain of thought in words at equal passes

Settings were chosen on the validation split. Everything is written to results/rl.json; runs that are there already are
not trained again.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from once import audited, difference, measured, say, trained, written

from unspoken import load
from unspoken.evaluation.evaluate import rows_of
from unspoken.evaluation.many import evaluate_many
from unspoken.evaluation.paired import across_seeds
from unspoken.evaluation.subject import Subject
from unspoken.files import read_json_lines
from unspoken.trajectories import Chance

RUNS = Path("runs/rl")
OUT = Path("results/rl.json")

MORE = ["method.epochs_per_stage=0", "train.epochs=2", "train.learning_rate=2.0e-4"]
CONSTANT = ["train.lr_schedule=constant", "train.warmup_steps=10", "train.save=end"]
LEARNERS = {
    "ppo": ("hops/ppo", []),
    "grpo": ("hops/grpo", []),
    "grpo_shuffled": ("hops/grpo", ["method.shuffle_rewards=true"]),
    "supervised": ("hops/half", [*MORE, *CONSTANT]),
}
"""What goes on from the same model for 250 optimizer steps or more, by the name of its figures."""
SOME = ["task.train_rows=320", "train.epochs=1"]
"""Ten updates: a policy that still makes mistakes, so that there is something to vote about."""
WORDS = ["train.epochs=8", "task.train_rows=4000", "train.save=end"]
"""As much training as the half-learned model had."""
WITHOUT_THOUGHTS = ("accuracy_without_thoughts", "interval_without_thoughts")
KEPT = ("accuracy", "interval", "n", *WITHOUT_THOUGHTS, "tokens_per_answer", "thoughts_per_answer")
CONTROLS = ["controls=[zero]"]


def gain(seed: int) -> dict[str, Any]:
    """What each way of going on brings."""
    own = [f"train.seed={seed}"]
    half = trained(RUNS / f"half-{seed}", "hops/half", own)
    found = {"half": measured(half, KEPT, CONTROLS)}
    for name, (recipe, changes) in LEARNERS.items():
        run = trained(RUNS / f"{name}-{seed}", recipe, [*changes, f"model.path={half}", *own])
        found[name] = measured(run, KEPT, CONTROLS)
        found[name]["gain"] = difference(run, half)
    return found


def halting(seed: int) -> dict[str, Any]:
    """How often a model that may stop thinks, and how often it would have had to."""
    own = [f"train.seed={seed}"]
    fixed = trained(RUNS / f"mixed-{seed}", "hops/mixed", own)
    free = trained(RUNS / f"halting-{seed}", "hops/halting", [f"model.path={fixed}", *own])
    found = {"fixed": measured(fixed, KEPT, CONTROLS), "free": measured(free, KEPT, CONTROLS)}
    rows = read_json_lines(free / "predictions.jsonl")
    hops = [int(row["question"].split()[-1]) for row in rows]
    had = [row["num_thoughts"] for row in rows]
    least = fewest(free, len(rows))
    reachable = [place for place, number in enumerate(least) if number is not None]
    by_hops: Mapping[int, list[int]] = defaultdict(list)
    for place, number in enumerate(hops):
        by_hops[number].append(place)
    return found | {
        "over_fixed": difference(free, fixed),
        "thoughts": fmean(had),
        "hops": fmean(hops),
        "fewest": fmean(least[place] for place in reachable),
        "never_right": len(least) - len(reachable),
        "beyond_fewest": fmean(had[place] - least[place] for place in reachable),
        "by_hops": {
            str(number): {
                "n": len(places),
                "thoughts": fmean(had[place] for place in places),
                "fewest": fmean(least[place] for place in places if least[place] is not None),
            }
            for number, places in sorted(by_hops.items())
        },
    }


def fewest(run: Path, num_rows: int) -> list[Any]:
    """For each test row the smallest number of thoughts with which the run answers right; None where no number does."""
    opened = load(run)
    rows = rows_of(opened, opened.recipe, None, "test")
    subject = Subject(opened, rows.examples, rows.tokenized, lambda name, done, total: None)
    found: list[Any] = [None] * num_rows
    for number in range(opened.recipe.method.num_thoughts, -1, -1):
        for row, prediction in subject.answer(f"{number} thoughts", subject.prompts(number)).items():
            if prediction.verdict == "right":
                found[row] = number
    return found


def trajectories(seed: int) -> dict[str, Any]:
    """Several trains of thought for each question, in vectors and in words."""
    own = [f"train.seed={seed}"]
    half = trained(RUNS / f"half-{seed}", "hops/half", own)
    drawn = trained(RUNS / f"some-{seed}", "hops/grpo", [*SOME, f"model.path={half}", *own])
    words = trained(RUNS / f"words-{seed}", "hops/cot", [*WORDS, *own])
    found = {}
    for name, run, chance in (
        ("thoughts", drawn, Chance(temperature=1.0, token_temperature=1.0)),
        ("words", words, Chance(temperature=1.0, token_temperature=1.0)),
    ):
        say(f"unspoken eval {run} --trajectories 16 --split test")
        figures = evaluate_many(run, trajectories=16, chance=chance, split="test", seed=seed)
        found[name] = {key: figures[key] for key in ("figures", "thoughts", "unread", "settings")}
    return found


def together(seeds: Mapping[str, Any]) -> dict[str, Any]:
    """Means over seeds with their t intervals."""
    found = {}
    for name in LEARNERS:
        mean, interval = across_seeds([each["gain"][name]["gain"]["points"] for each in seeds.values()])
        found[name] = {"gain": mean, "interval": list(interval), "seeds": len(seeds)}
    return found


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2], metavar="SEED", help="default: 0 1 2")
    seeds = parser.parse_args().seeds
    found = {
        str(seed): {"gain": gain(seed), "halting": halting(seed), "trajectories": trajectories(seed)} for seed in seeds
    }
    audits = {name: audited(RUNS / f"{name}-{seeds[0]}", ["necessity"])["necessity"] for name in ("ppo", "grpo")}
    over_seeds = {"over_seeds": together(found)} if len(seeds) > 1 else {}
    written(OUT, "rl.py", list(map(str, seeds)), seeds=found, audit=audits, **over_seeds)


if __name__ == "__main__":
    main()
