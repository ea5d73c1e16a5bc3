"""What rewards teach that more supervised steps do not: `make rl`, or `python results/rl.py [SEED ...]`.

For each seed a model that answers about half of its questions is trained on: by PPO, by GRPO, by GRPO with the rewards
of others (the control), and by as many more steps of supervised training. All are asked the same test questions once.
Everything is written to results/rl.json; runs that are there already are not trained again.
"""

import shlex
import sys
from pathlib import Path
from typing import Any

from unspoken import evaluate, load_recipe, train
from unspoken.device import environment
from unspoken.evaluation.paired import across_seeds, newcombe, paired
from unspoken.files import read_json, read_json_lines, write_json

RUNS = Path("runs/rl")
OUT = Path("results/rl.json")

HALF = ["train.epochs=8", "train.save=end"]
LEARNERS = {
    "ppo": ("hops/ppo", []),
    "grpo": ("hops/grpo", []),
    "grpo_shuffled": ("hops/grpo", ["method.shuffle_rewards=true"]),
}
"""What is learned with, by the name of its figures: a recipe, and what is changed in it."""


def trained(name: str, recipe: str, changes: list[str]) -> Path:
    """The run of a recipe, trained unless it is there."""
    run = RUNS / name
    if not (run / "run.json").is_file():
        say(f"unspoken train {recipe} --out {run} {shlex.join(changes)}")
        train(load_recipe(recipe, changes), run, resume=(run / "resolved.json").is_file())
    return run


def measured(run: Path) -> dict[str, Any]:
    """Its figures on the test split, measured once."""
    if not (run / "results.json").is_file():
        evaluate(run, split="test", overrides=["controls=[zero]"])
    figures = read_json(run / "results.json")
    seconds = sum(line.get("seconds", line.get("train_runtime", 0.0)) for line in read_json_lines(run / "metrics.jsonl"))
    kept = ("accuracy", "interval", "n", "accuracy_without_thoughts", "interval_without_thoughts")
    return {key: figures[key] for key in kept} | {"train_seconds": round(seconds, 1)}


def gained(before: Path, after: Path) -> dict[str, Any]:
    """By how much a run answers more of the same questions, with its interval."""
    rights = [
        [row["verdict"] == "right" for row in read_json_lines(run / "predictions.jsonl")] for run in (after, before)
    ]
    counts = paired(*rights)
    return {"gain": counts.cost, "interval": list(newcombe(counts))}


def one_seed(seed: int) -> dict[str, Any]:
    """All figures of a seed."""
    own = [f"train.seed={seed}"]
    half = trained(f"half-{seed}", "hops/coconut", [*HALF, *own])
    runs = {
        name: trained(f"{name}-{seed}", recipe, [*changes, f"model.path={half}", *own])
        for name, (recipe, changes) in LEARNERS.items()
    }
    steps = max(line["step"] for line in read_json_lines(runs["grpo"] / "metrics.jsonl"))
    epochs = -(-steps * 32 // 6400)
    more = ["method.epochs_per_stage=0", f"train.epochs={epochs}", "train.learning_rate=3.0e-4", "train.save=end"]
    runs["supervised"] = trained(f"supervised-{seed}", "hops/coconut", [*more, f"model.path={half}", *own])
    figures = {"half": measured(half)} | {name: measured(run) for name, run in runs.items()}
    for name, run in runs.items():
        figures[name]["over_half"] = gained(half, run)
    return figures


def say(text: str) -> None:
    """What is going on, on stderr."""
    sys.stderr.write(text + "\n")


def main() -> None:
    """Train, measure, write."""
    seeds = [int(each) for each in sys.argv[1:]] or [0, 1, 2]
    found = {str(seed): one_seed(seed) for seed in seeds}
    together = {}
    for name in (*LEARNERS, "supervised"):
        mean, interval = across_seeds([found[str(seed)][name]["over_half"]["gain"] for seed in seeds])
        together[name] = {"gain": mean, "interval": list(interval), "seeds": len(seeds)}
    command = "python results/rl.py " + " ".join(map(str, seeds))
    write_json(OUT, {"command": command, "seeds": found, "over_seeds": together, "environment": environment()})
    say(f"{OUT} is written")


if __name__ == "__main__":
    main()
