"""Several runs of one recipe that differ in their seed: what another seed would be like, not another row."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from unspoken.audit.necessity import points
from unspoken.errors import RecipeError
from unspoken.evaluation.paired import across_seeds
from unspoken.recipe import dump
from unspoken.run_directory import read_recipe, read_summary

SEEDS = (("train", "seed"), ("task", "seed"))
"""The settings in which runs of one recipe may differ."""


def check_same_but_seeds(runs: Sequence[Path]) -> None:
    """See that runs can be taken together, before any is audited.

    Raises:
        RecipeError: Two have the same training seed, or they differ in more than their seeds.
        CheckpointError: One is no finished run.
    """
    problems = []
    stages = [read_summary(run)["stage"] for run in runs]
    recipes = [dump(read_recipe(run)) for run in runs]
    trained = Counter(recipe["train"]["seed"] for recipe in recipes)
    repeated = [seed for seed, count in trained.items() if count > 1]
    if repeated:
        named = ", ".join(map(str, repeated))
        problems.append(
            f"train.seed: more than one run has seed {named}; train with other seeds, or audit one at a time"
        )
    for run, recipe, stage in zip(runs[1:], recipes[1:], stages[1:], strict=True):
        differing = _differing(recipes[0], recipe) + ([] if stage == stages[0] else ["the stage that was reached"])
        if differing:
            problems.append(
                f"{run} differs from {runs[0]} in {', '.join(differing)}; compare them with --against instead"
            )
    if problems:
        raise RecipeError("unspoken audit", problems)


def over_seeds(audits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What audits of at least two such runs have in common: means over runs with their t intervals.

    Args:
        audits: What `unspoken.audit.audit` returned for each.

    Returns:
        `runs`, `seeds`, `accuracy`, `verdicts` (how many runs have each), `interventions` with the mean cost over the
        runs and its interval, and a `sentence`.
    """
    names = [each["name"] for each in audits[0]["interventions"]]
    by_name = [{each["name"]: each for each in audit["interventions"]} for audit in audits]
    shared = [name for name in names if all(name in found for found in by_name)]
    interventions = [
        {
            **{key: by_name[0][name][key] for key in ("name", "kind", "what")},
            **_mean([found[name]["cost"] for found in by_name], "cost", -1.0),
        }
        for name in shared
    ]
    verdicts = Counter(audit["necessity"]["verdict"] for audit in audits)
    accuracy = _mean([audit["as_trained"]["accuracy"] for audit in audits], "accuracy", 0.0)
    return {
        "runs": [audit["run"] for audit in audits],
        "seeds": [audit["seed"] for audit in audits],
        "n": [audit["n"] for audit in audits],
        **accuracy,
        "verdicts": dict(verdicts),
        "interventions": interventions,
        "sentence": _sentence(len(audits), accuracy, verdicts, interventions),
    }


def _mean(numbers: Sequence[float], name: str, least: float) -> dict[str, Any]:
    _, (low, high) = across_seeds(numbers)
    return {
        name: fmean(numbers),
        f"{name}_interval": (max(low, least), min(high, 1.0)),
        f"{name}_of_each": list(numbers),
    }


def _sentence(
    num_runs: int,
    accuracy: Mapping[str, Any],
    verdicts: Mapping[str, int],
    interventions: Sequence[Mapping[str, Any]],
) -> str:
    low, high = accuracy["accuracy_interval"]
    # of runs that are all alike the interval has no width, which says nothing of other seeds
    how = "with each" if low == high else f"[{low:.1%}, {high:.1%}]"
    text = f"Over {num_runs} seeds accuracy is {accuracy['accuracy']:.1%} {how}"
    text += "; the thoughts are " + ", ".join(f"{verdict} in {count}" for verdict, count in verdicts.items())
    replacements = [each for each in interventions if each["kind"] == "content"]
    if replacements:
        mildest = min(replacements, key=lambda each: each["cost"])
        low, high = mildest["cost_interval"]
        how = "with each" if low == high else f"[{points(low)}, {points(high)}] on average"
        text += f". The mildest replacement, {mildest['what']}, costs {points(mildest['cost'])} points {how}"
    return text + "."


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Settings in which two recipes differ, besides their seeds."""
    found = []
    for section in sorted(one.keys() | other.keys()):
        first, second = one.get(section), other.get(section)
        if not isinstance(first, Mapping) or not isinstance(second, Mapping):
            found += [section] if first != second else []
            continue
        found += [
            f"{section}.{key}"
            for key in sorted(first.keys() | second.keys())
            if (section, key) not in SEEDS and first.get(key) != second.get(key)
        ]
    return found
