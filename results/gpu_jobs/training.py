"""One training over as many calls as it takes, and everything that is measured of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from gpu_jobs.call import Call, say
from gpu_jobs.stopwatch import Stopwatch

from unspoken import evaluate, load_recipe, train
from unspoken.audit import audit
from unspoken.bench.flops import share_of_peak, training_flops
from unspoken.data.collate import collate
from unspoken.data.tokenizer import thought_tokens
from unspoken.files import read_json
from unspoken.prepare import read_examples, tokenize_rows
from unspoken.run_directory import RESOLVED, RUN, open_run

GOAL = 0.97
"""Validation accuracy that the time is taken to."""
SAVING = ("train.save=end", "train.keep_checkpoints=1")
"""A checkpoint at the end, and one when a call is over."""
VALIDATING = ("evaluate.batch_size=512",)
"""All validation rows at once: their words are written one after the other, and a GPU has room for every row."""
WORKERS = 4
"""Processes that lay out batches for a GPU: a batch of 256 rows takes one of them about 13 ms."""
COUNTED_ROWS = 64
"""Rows whose operations are counted at each stage, for the mean of a row."""
KEPT = ("accuracy", "interval", "n", "accuracy_without_thoughts", "interval_without_thoughts", "thoughts_per_answer")
KEPT_OF_AUDIT = ("necessity", "as_trained", "comparisons", "counterfactuals", "shifts", "data_sha256", "command")
CONTROLS = "controls=[zero,mean,another_row]"


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained.

    Attributes:
        name: Of the run directory.
        recipe: A recipe.
        changes: What is changed in it.
    """

    name: str
    recipe: str
    changes: tuple[str, ...]


def trained(call: Call, what: Training) -> Path:
    """The finished run; a call that is over leaves a checkpoint for the next one."""
    run = call.runs / what.name
    if not (run / RUN).is_file():
        call.check()
        say(f"training {run}: {what.recipe} {' '.join(what.changes)}")
        workers = WORKERS if call.device.type == "cuda" else 0
        changes = [*what.changes, *SAVING, *VALIDATING, f"train.precision={call.precision}", f"train.workers={workers}"]
        with Stopwatch(run / "metrics.jsonl", call.runs / f"{what.name}.clock.json"):
            train(load_recipe(what.recipe, changes), run, resume=(run / RESOLVED).is_file())
    return run


def figures(call: Call, what: Training, released: Path | None) -> dict[str, Any]:
    """Time, share of the peak and accuracy of a training; on the released rows, too, where they are given.

    Args:
        call: This call.
        what: The training.
        released: A file of rows that others published.
    """
    run = trained(call, what)
    found = {"recipe": what.recipe, "changes": list(what.changes)}
    found |= {"training": call.once(f"{what.name}.training", lambda: _training(call, what.name, run))}
    rows: dict[str, dict[str, Any]] = {"released": {"data": released}} if released is not None else {}
    for kind, which in {**rows, "test": {"split": "test"}}.items():

        def measured(kind: str = kind, which: dict[str, Any] = which) -> dict[str, Any]:
            say(f"measuring {run} on {kind} rows")
            return _kept(evaluate(run, **which, overrides=[CONTROLS]))

        found |= {kind: call.once(f"{what.name}.{kind}", measured)}
    return found


def necessity(call: Call, what: Training, against: Sequence[Path] = ()) -> dict[str, Any]:
    """What the audit says of a trained run, on the test split.

    Args:
        call: This call.
        what: The training.
        against: Runs to compare with on the same rows.
    """
    run = call.runs / what.name

    def make() -> dict[str, Any]:
        say(f"auditing {run}")
        found = audit(run, against=against)
        return {key: found[key] for key in KEPT_OF_AUDIT}

    found: dict[str, Any] = call.once(f"{what.name}.audit", make)
    return found


def _kept(results: Mapping[str, Any]) -> dict[str, Any]:
    return {key: results[key] for key in (*KEPT, "controls", "data_sha256")}


def _training(call: Call, name: str, run: Path) -> dict[str, Any]:
    """Seconds of a training, until the goal and in all, and the share of the peak over all of them."""
    clock, summary = read_json(call.runs / f"{name}.clock.json"), read_json(run / RUN)
    reached = next((each for each in clock["validations"] if each["accuracy"] >= GOAL), None)
    operations = _operations(run)
    return {
        "steps": summary["last_step"],
        "seconds": clock["seconds"],
        "goal": GOAL,
        "seconds_to_goal": reached and reached["seconds"],
        "steps_to_goal": reached and reached["step"],
        "best_validation_accuracy": summary["best_validation_accuracy"],
        "validations": clock["validations"],
        "num_parameters": summary["num_parameters"],
        "operations": operations,
        "operations_per_second": operations / clock["seconds"],
        "share_of_peak": share_of_peak(operations, clock["seconds"], call.peak),
    }


def _operations(run: Path) -> float:
    """Operations of a whole training: those of a mean row of each stage, times rows and epochs."""
    opened = open_run(run)
    recipe, model = opened.recipe, opened.model
    examples, ledger = read_examples(recipe.task, "train")
    few = tokenize_rows(recipe, examples[:COUNTED_ROWS], ledger, opened.tokenizer, model).tokenized
    plain = recipe.method.model_copy(
        update={key: 0 for key in ("mix", "redraw") if key in type(recipe.method).model_fields}
    )
    tokens, settings = thought_tokens(opened.tokenizer), recipe.train
    stages = [recipe.method.stage(epoch) for epoch in range(settings.first_epoch, settings.epochs)]
    of_a_row = {
        stage: fmean(
            training_flops(model, collate([plain.layout(row, stage, tokens, Random(0))], pad_id=0)) for row in few
        )
        for stage in set(stages)
    }
    return len(examples) * sum(of_a_row[stage] for stage in stages)
