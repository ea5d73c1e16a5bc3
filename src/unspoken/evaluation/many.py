"""`unspoken eval --trajectories`: each question is thought about many times, and the answers are brought together."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import reduce
from operator import add
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from unspoken import files
from unspoken.data.tokenizer import thought_tokens
from unspoken.device import (
    best_device,
    environment,
    gather_rows,
    in_group,
    join_processes,
    rank,
    shares_parameters,
    world_size,
)
from unspoken.errors import RecipeError
from unspoken.evaluation.evaluate import rows_of, with_settings
from unspoken.evaluation.predict import batches
from unspoken.evaluation.scaling import Compute, Judged, figures
from unspoken.prepare import Rows
from unspoken.pretrained import run_to_write
from unspoken.recipe import Recipe
from unspoken.records import Split
from unspoken.run_directory import TRAJECTORIES, Run, open_run
from unspoken.thoughts import Policy
from unspoken.trajectories import Chance, rollout
from unspoken.trajectories.candidates import candidates, mistakes
from unspoken.trajectories.diversity import ThoughtPairs, specialisation, thought_pairs
from unspoken.trajectories.fusion import FUSIONS, Candidate

Progress = Callable[[str, int, int], None]


def evaluate_many(
    run: Path | str,
    *,
    trajectories: int = 16,
    chance: Chance | None = None,
    data: Path | str | None = None,
    split: Split = "validation",
    overrides: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = lambda condition, done, total: None,
    tell: Callable[[dict[str, Any]], None] = lambda results: None,
) -> dict[str, Any]:
    """Draw trajectories for every row of a data set, and write `trajectories.json` into the run.

    Args:
        run: The run directory.
        trajectories: Of each question, 1 to 64.
        chance: How much is left to it; default: thoughts at temperature 1, the likeliest words.
        data: A file to evaluate on instead of a split of the run's own task.
        split: Which split; choose settings on `validation`, and measure on `test` once.
        overrides: `key=value` for the recipe's `evaluate` section; `batch_size` counts trajectories.
        seed: Of all that is left to chance.
        progress: Called with what is drawn, the rows done and the rows there are.
        tell: Called with the results before they are written.

    Returns:
        What `trajectories.json` holds.

    Raises:
        UnspokenError: The run or the data cannot be used, a number is out of range, or nothing is left to chance.
    """
    run, data, chance = run_to_write(run), Path(data) if data is not None else None, chance or Chance()
    join_processes()
    files.check_writable(run)
    opened = open_run(run)
    opened.model.to(best_device())
    thinks = opened.recipe.method.most_thoughts(opened.stage) > 0
    problems = mistakes(opened.model, trajectories, chance, thinks=thinks)
    if any(change.strip().removeprefix("evaluate.").startswith("controls") for change in overrides):
        problems.append("controls: trajectories have the thoughts of the model; leave it out, or --trajectories")
    if seed < 0:
        problems.append(f"seed: {seed} is negative; give 0 or more")
    if problems:
        raise RecipeError("unspoken eval", problems)
    recipe = with_settings(opened.recipe, overrides)
    rows = rows_of(opened, recipe, data, split)
    together = _are_alike(opened, chance)
    sizes = _sizes(trajectories)
    draws: dict[int, tuple[list[Judged], ThoughtPairs]] = {
        size: _draw(opened, recipe, rows, size, chance, seed, progress)
        for size in sizes
        if size == trajectories or not together
    }
    judged, pairs = draws[trajectories]
    source = opened.model.model.thought_source
    compute = Compute(not isinstance(source, Policy), _extra_passes(opened))
    of_siblings = specialisation([each.is_right for each in judged])
    results = {
        "figures": [figures(size, (draws[trajectories] if together else draws[size])[0], compute) for size in sizes],
        "thoughts": [
            {"thought": number, "pairs": count, "distance": distance, "cosine": cosine}
            for number, (count, distance, cosine) in enumerate(
                zip(pairs.counts, pairs.mean_distances(), pairs.mean_cosines(), strict=True), 1
            )
        ],
        "siblings": [
            {"sibling": number, "accuracy": accuracy, "alone": alone}
            for number, (accuracy, alone) in enumerate(zip(of_siblings.accuracy, of_siblings.alone, strict=True), 1)
        ],
        "stopped": fmean(candidate.stopped for each in judged for candidate in each.candidates),
        "unread": fmean(candidate.answer is None for each in judged for candidate in each.candidates),
        "drawn_together": together,
        "method": recipe.method.name,
        "source": recipe.thoughts["name"] if thinks else None,
        "task": recipe.task.name,
        "data": str(data) if data else split,
        "data_sha256": rows.fingerprint,
        "stage": opened.stage,
        "train_seed": recipe.train.seed,
        "model_sha256": opened.summary["sha256"]["model.safetensors"],
        "settings": {**asdict(chance), "seed": seed, **recipe.evaluate.model_dump(mode="json", exclude={"controls"})},
        "date": datetime.now(UTC).date().isoformat(),
        "environment": environment(),
    }
    tell(results)
    if rank() == 0:
        files.write_json(run / TRAJECTORIES, results)
    return results


def _sizes(trajectories: int) -> list[int]:
    """1, 2, 4 ... and the number itself."""
    return sorted({2**power for power in range(7) if 2**power < trajectories} | {trajectories})


def _are_alike(opened: Run, chance: Chance) -> bool:
    """Whether siblings differ by chance alone, so that some of many are what as many drawn alone would be."""
    source = opened.model.model.thought_source
    if not isinstance(source, Policy):
        return True
    return source.identity is None and source.memory is None and not chance.spread


def _extra_passes(opened: Run) -> Callable[[int], int]:
    """What thoughts cost: a policy has them one after the other, whatever the schedule."""
    model = opened.model.model
    return (lambda count: count) if isinstance(model.thought_source, Policy) else model.schedule.extra_passes


def _draw(
    opened: Run, recipe: Recipe, rows: Rows, siblings: int, chance: Chance, seed: int, progress: Progress
) -> tuple[list[Judged], ThoughtPairs]:
    """The trajectories of every row, in order of the rows, the same on every process."""
    model, longest = opened.model, recipe.evaluate.max_new_tokens or recipe.task.max_new_tokens
    tokens = thought_tokens(opened.tokenizer)
    prompts = [recipe.method.prompt(row, opened.stage, tokens) for row in rows.tokenized]
    found: list[dict[str, Any]] = []
    pairs = ThoughtPairs()
    at_once = max(recipe.evaluate.batch_size // siblings, 1)
    shared = in_group() and not shares_parameters()
    for number, chosen in enumerate(batches(prompts, at_once, model.num_positions - longest)):
        if shared and number % world_size() != rank():
            continue
        drawn = rollout(
            model,
            [prompts[index] for index in chosen],
            siblings=siblings,
            chance=chance,
            generator=_generator(seed, siblings, number, model.device),
            max_new_tokens=longest,
        )
        pairs += thought_pairs(drawn)
        brought = candidates(model, opened.tokenizer, recipe.task, drawn)
        for index, of_question in zip(chosen, brought, strict=True):
            verdicts = [recipe.task.score(rows.examples[index], each.text).verdict for each in of_question]
            found.append(
                {
                    "position": index,
                    "candidates": [asdict(each) for each in of_question],
                    "is_right": [verdict == "right" for verdict in verdicts],
                }
            )
        progress(f"{siblings} trajectories", len(found), len(prompts))
    if shared:
        found = gather_rows(found, model.device)
        pairs = reduce(add, (_pairs(row) for row in gather_rows([asdict(pairs)], model.device)))
    return [_judged(row) for row in sorted(found, key=lambda row: int(row["position"]))], pairs


def _judged(row: dict[str, Any]) -> Judged:
    return Judged(tuple(Candidate(**each) for each in row["candidates"]), tuple(row["is_right"]))


def _pairs(row: dict[str, Any]) -> ThoughtPairs:
    return ThoughtPairs(**{name: tuple(values) for name, values in row.items()})


def _generator(seed: int, siblings: int, number: int, device: torch.device) -> torch.Generator:
    """Chance of one batch: the same whichever process draws it."""
    (state,) = np.random.SeedSequence([seed, siblings, number]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state) >> 1)


def table(results: dict[str, Any]) -> str:
    """The figures as lines of text."""
    rows = results["figures"]
    ways = [name for name in ("single", *FUSIONS, "oracle") if name in rows[0]]
    lines = [f"{'N':>2}" + "".join(f"  {title:<20}" for title in ways).rstrip()]
    for row in rows:
        shares = ["{accuracy:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]".format(**row[name]) for name in ways]
        lines.append(f"{row['num_trajectories']:>2}" + "".join(f"  {share:<20}" for share in shares).rstrip())
    lines.append("")
    lines.append(f"{'N':>2}{'thoughts':>10}{'words':>8}{'passes':>8}{'distinct':>10}{'agree':>7}")
    for row in rows:
        agree = "-" if row["agreement"] is None else f"{row['agreement']:.2f}"
        lines.append(
            f"{row['num_trajectories']:>2}{row['thoughts_per_question']:>10.1f}{row['tokens_per_question']:>8.1f}"
            f"{row['passes_per_question']:>8.1f}{row['distinct_answers']:>10.2f}{agree:>7}"
        )
    lines.append("")
    lines.append(
        f"{rows[0]['n']} questions; {results['unread']:.1%} of the trajectories gave no answer that could be read, "
        f"{results['stopped']:.1%} stopped by themselves"
    )
    for each in results["thoughts"]:
        if each["pairs"]:
            lines.append(
                f"thought {each['thought']}: siblings are {each['distance']:.2f} apart, cosine {each['cosine']:.2f}"
            )
    best = max(results["siblings"], key=lambda each: float(each["accuracy"]))
    worst = min(results["siblings"], key=lambda each: float(each["accuracy"]))
    alone = sum(each["alone"] for each in results["siblings"])
    lines.append(
        f"sibling {best['sibling']} is right most often, {best['accuracy']:.3f}, sibling {worst['sibling']} least, "
        f"{worst['accuracy']:.3f}; {alone:.1%} of the questions are answered right by one alone"
    )
    return "\n".join(lines)
