"""`unspoken audit`: every intervention on the same rows, and what follows from them. Read it from top to bottom."""

import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unspoken import files
from unspoken.audit import faithfulness
from unspoken.audit.findings import how_many, how_much_noise, sentence, which_thoughts
from unspoken.audit.interventions import NOISE, FromSource, Intervention, interventions
from unspoken.audit.necessity import Necessity, necessity, without_thoughts
from unspoken.audit.outcome import Outcome, as_json, compare, corrected
from unspoken.device import best_device, environment
from unspoken.errors import DataError, RecipeError
from unspoken.evaluation.evaluate import rows_of
from unspoken.evaluation.recorded import Recorded
from unspoken.evaluation.statistics import aggregate
from unspoken.evaluation.subject import Subject, both
from unspoken.pretrained import run_to_write
from unspoken.records import Prediction, Split
from unspoken.run_directory import AUDIT, Run, open_run
from unspoken.thoughts import ThoughtSource
from unspoken.thoughts.controls import Mean

MARGIN = 0.02
"""Largest cost in accuracy that counts as none."""
MORE_THOUGHTS = 2
"""How many more thoughts than trained the budget curve goes."""
MOST_BUDGETS = 10
"""Points of the budget curve, beside the trained number and zero."""
SHIFTED_ROWS = 300
"""Rows of each set that is unlike those of training."""


def audit(
    run: Path | str,
    *,
    against: Sequence[Path | str] = (),
    data: Path | str | None = None,
    split: Split = "test",
    rows: int | None = None,
    margin: float = MARGIN,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda condition, done, total: None,
    tell: Callable[[dict[str, Any]], None] = lambda results: None,
) -> dict[str, Any]:
    """Audit a finished run, and write `audit.json` into it.

    Args:
        run: The run directory.
        against: Further runs on the same task, to be compared on the same rows: pause for thoughts, no_cot, cot ...
        data: A file of rows instead of a split of the run's own task.
        split: Which split.
        rows: Only the first so many rows; default: all.
        margin: Largest cost in accuracy that counts as none.
        seed: Seed of everything random in the audit.
        progress: Told the condition, the rows done and the rows there are.
        tell: Told the results before they are written.

    Returns:
        What `audit.json` holds; docs/audit.md explains each field.

    Raises:
        UnspokenError: A run, the data or a setting cannot be used.
    """
    _check(rows, margin, seed)
    started = time.monotonic()
    run = run_to_write(run)
    files.check_writable(run)
    opened = open_run(run)
    others = [_other(path, opened) for path in against]
    opened.model.to(best_device())
    found = rows_of(opened, opened.recipe, None if data is None else Path(data), split)
    examples = found.examples[:rows]
    subject = Subject.of(opened, examples, progress)
    as_trained = subject.answer("as trained", subject.prompts())
    ordered = [as_trained[row] for row in range(len(examples))]
    thinks = any(prediction.num_thoughts for prediction in ordered)
    longest = subject.longest_as(as_trained)

    changes: list[tuple[Intervention, Outcome]] = []
    budget: dict[int, Outcome] = {}
    omitted: list[dict[str, str]] = []
    if thinks:
        recorded = subject.record()
        for change in interventions(recorded, opened.model.config.latent_token_id, seed):
            answered = subject.answer(change.name, subject.prompts(), change, at_most=None if change.aloud else longest)
            if answered:
                left_out = len(examples) - len(answered)
                changes.append((change, compare(change.name, change.what, *both(as_trained, answered), left_out)))
            else:
                omitted.append({"section": f"intervention {change.name}", "reason": "it applies to none of these rows"})
        budget = _budget(subject, as_trained, longest)
    comparisons = [_comparison(other, subject, as_trained, progress) for other in others]

    replacements = [outcome for change, outcome in changes if change.kind == "content"]
    needed = necessity(replacements, margin) if thinks else without_thoughts(len(examples), margin)
    followed = faithfulness.following(subject, seed)
    counterfactuals = None if followed is None else faithfulness.as_json(followed)
    shifts, without = _shifts(subject, recorded if thinks else None, margin, seed)
    result = {
        "run": str(run),
        "task": opened.recipe.task.name,
        "method": opened.recipe.method.name,
        "thoughts": opened.recipe.thoughts["name"] if thinks else None,
        "stage": opened.stage,
        "seed": opened.recipe.train.seed,
        "data": str(data) if data else split,
        "data_sha256": found.fingerprint,
        "n": len(examples),
        "num_rows": len(found.examples),
        "margin": margin,
        "audit_seed": seed,
        "as_trained": {key: getattr(aggregate(ordered), key) for key in ("accuracy", "interval", "n")},
        "necessity": asdict(needed),
        "questions": _questions(needed, changes, budget, ordered, margin, counterfactuals),
        "interventions": _interventions_json(changes, margin, seed),
        "budget": _budget_json(budget, _trained_count(ordered), margin, seed),
        "comparisons": _comparisons_json(comparisons, margin, seed),
        "counterfactuals": counterfactuals,
        "shifts": shifts,
        "omitted": [*omitted, *without],
        "model_sha256": opened.summary["sha256"]["model.safetensors"],
        "seconds": round(time.monotonic() - started, 1),
        "command": shlex.join(["unspoken", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "environment": environment(),
    }
    tell(result)
    files.write_json(run / AUDIT, result)
    return result


def _check(rows: int | None, margin: float, seed: int) -> None:
    problems = []
    if rows is not None and rows < 2:
        problems.append(f"rows: {rows} rows tell nothing; give at least 2, better some hundred")
    if not 0 < margin < 1:
        problems.append(f"margin: {margin} is no difference of accuracies; give e.g. 0.02 for two points")
    if seed < 0:
        problems.append(f"seed: {seed} is negative; give 0 or more")
    if problems:
        raise RecipeError("unspoken audit", problems)


def _other(path: Path | str, run: Run) -> Run:
    """A run to compare with; looked at before anything is asked."""
    other = open_run(path)
    ours, theirs = run.recipe.task.name, other.recipe.task.name
    if ours != theirs:
        raise RecipeError("unspoken audit", [f"against: {other.path} is a run on {theirs}, not on {ours}"])
    return other


def _trained_count(answers: Sequence[Prediction]) -> int | None:
    """The number of thoughts that every row has; None where rows differ in it."""
    counts = {prediction.num_thoughts for prediction in answers}
    return counts.pop() if len(counts) == 1 else None


def _budget(subject: Subject, as_trained: dict[int, Prediction], longest: Mapping[int, int]) -> dict[int, Outcome]:
    """Every row with fewer and with more thoughts than trained, as far as the positions of the model reach."""
    most = max(prediction.num_thoughts for prediction in as_trained.values())
    room = subject.run.model.num_positions - max(len(prompt.input_ids) for prompt in subject.prompts(0)) - 1
    step = -(-most // MOST_BUDGETS)
    counts = sorted({*range(0, most, step), most, *range(most + step, most + step * MORE_THOUGHTS + 1, step)})
    found = {}
    for count in counts:
        if count <= room:
            answered = subject.answer(f"{count} thoughts", subject.prompts(count), at_most=longest)
            found[count] = compare(f"thoughts_{count}", f"{count} thoughts", *both(as_trained, answered))
    return found


def _comparison(
    other: Run, subject: Subject, as_trained: dict[int, Prediction], progress: Callable[[str, int, int], None]
) -> tuple[Run, Outcome]:
    """The same rows answered by another run."""
    other.model.to(subject.run.model.device)
    peer = Subject.of(other, subject.examples, progress)
    answered = peer.answer(other.path.name, peer.prompts())
    return other, compare(str(other.path), f"the run {other.path.name} instead", *both(as_trained, answered))


def _shifts(
    subject: Subject, recorded: Recorded | None, margin: float, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows unlike those of training: accuracy, and what is left of it when every thought is the mean one.

    Also what was left out, and why.
    """
    found: list[dict[str, Any]] = []
    omitted: list[dict[str, str]] = []
    per_step = getattr(subject.run.recipe.method, "thoughts_per_step", 1) or 1
    usual_steps = max(len(example.steps) for example in subject.examples)
    usual_thoughts = max(prompt.num_thoughts for prompt in subject.prompts())
    for name, task in subject.run.recipe.task.shifts().items():
        try:
            examples = task.examples("test")[0][:SHIFTED_ROWS]
            shifted = Subject.of(subject.run, examples, subject.progress)
        except DataError as error:
            omitted.append({"section": f"shift: {name}", "reason": str(error)})
            continue
        default = shifted.prompts()
        budgets: list[int | None] = [None]
        given = max(prompt.num_thoughts for prompt in default)
        steps = {len(example.steps) for example in examples}
        # also a thought more for each step more than the audited rows have, or fewer where all rows have fewer
        wanted = usual_thoughts + per_step * (max(steps) - usual_steps)
        if given and wanted > 0 and (wanted > given or (wanted < given and len(steps) == 1)):
            budgets.append(wanted)
        for count in budgets:
            prompts = shifted.prompts(count)
            if max(len(prompt.input_ids) for prompt in prompts) >= subject.run.model.num_positions:
                reason = f"with {count or given} thoughts its questions do not fit the positions of the model"
                omitted.append({"section": f"shift: {name}", "reason": reason})
                continue
            answered = shifted.answer(name, prompts)
            figures = aggregate([answered[row] for row in range(len(examples))])
            values: dict[str, Any] = {
                "name": name,
                "num_thoughts": max(prompt.num_thoughts for prompt in prompts),
                "n": figures.n,
                "accuracy": figures.accuracy,
                "interval": figures.interval,
                "accuracy_without_content": None,
                "cost": None,
                "cost_interval": None,
            }
            if recorded is not None:
                change = FromSource("mean", "content", "the mean thought", range(len(examples)), _mean(recorded))
                changed = shifted.answer(name, prompts, change, at_most=shifted.longest_as(answered))
                without = compare("mean", "the mean thought", *both(answered, changed))
                costs = as_json(without, margin, 1.0, seed)
                values["accuracy_without_content"] = costs["accuracy"]
                values |= {key: costs[key] for key in ("cost", "cost_interval")}
            found.append(values)
    return found, omitted


def _mean(recorded: Recorded) -> Callable[[ThoughtSource, Sequence[int]], ThoughtSource]:
    mean_KD = recorded.mean()
    return lambda source, rows: Mean(mean_KD)


def _questions(
    needed: Necessity,
    changes: Sequence[tuple[Intervention, Outcome]],
    budget: dict[int, Outcome],
    answers: Sequence[Prediction],
    margin: float,
    counterfactuals: dict[str, Any] | None,
) -> list[str]:
    """A sentence for each question that the audit answers, the most important first."""
    by_name = {change.name: outcome for change, outcome in changes}
    found: list[str | None] = [needed.sentence]
    if changes:
        frozen = [outcome for change, outcome in changes if change.kind == "single"]
        noise = [(strength, by_name[f"noise_{strength:g}"]) for strength in NOISE if f"noise_{strength:g}" in by_name]
        found += [
            how_many(budget, _trained_count(answers), margin) if budget else None,
            which_thoughts(frozen, margin),
            *(sentence(by_name[name], margin) for name in ("aloud", "permuted", "cache_swap_other") if name in by_name),
            how_much_noise(noise, margin),
        ]
    if counterfactuals:
        found.append(counterfactuals["sentence"])
    return [each for each in found if each]


def _interventions_json(
    changes: Sequence[tuple[Intervention, Outcome]], margin: float, seed: int
) -> list[dict[str, Any]]:
    ps = corrected([outcome for _, outcome in changes])
    return [
        {
            "name": change.name,
            "kind": change.kind,
            "what": change.what,
            **as_json(outcome, margin, p, seed),
            "sentence": sentence(outcome, margin),
        }
        for (change, outcome), p in zip(changes, ps, strict=True)
    ]


def _budget_json(budget: dict[int, Outcome], trained: int | None, margin: float, seed: int) -> list[dict[str, Any]]:
    ps = corrected(list(budget.values()))
    return [
        {"num_thoughts": count, "trained": count == trained, **as_json(outcome, margin, p, seed)}
        for (count, outcome), p in zip(budget.items(), ps, strict=True)
    ]


def _comparisons_json(comparisons: Sequence[tuple[Run, Outcome]], margin: float, seed: int) -> list[dict[str, Any]]:
    ps = corrected([outcome for _, outcome in comparisons])
    return [
        {
            "run": str(other.path),
            "method": other.recipe.method.name,
            "thoughts": other.recipe.thoughts["name"] if other.recipe.method.most_thoughts(other.stage) else None,
            **as_json(outcome, margin, p, seed),
        }
        for (other, outcome), p in zip(comparisons, ps, strict=True)
    ]
