"""What the scripts here do with a run: train it, measure it, audit it, each once, and compare it on the same rows."""

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unspoken import evaluate, load_recipe, train
from unspoken.audit import audit
from unspoken.device import environment
from unspoken.evaluation.paired import newcombe, paired
from unspoken.files import read_json, read_json_lines, write_json


def trained(run: Path, recipe: str, changes: Sequence[str]) -> Path:
    """The run of a recipe: trained unless it is there, gone on with where it was interrupted.

    Args:
        run: Its directory.
        recipe: Name of a shipped recipe.
        changes: Overrides.
    """
    if not (run / "run.json").is_file():
        say(f"unspoken train {recipe} --out {run} {shlex.join(changes)}")
        train(load_recipe(recipe, list(changes)), run, resume=(run / "resolved.json").is_file())
    return run


def measured(run: Path, kept: Sequence[str], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Its figures on the test split, asked once, and what its training took.

    Args:
        run: A finished run.
        kept: Which of the figures of `results.json` are wanted, as far as they are there.
        overrides: Settings of the evaluation.
    """
    if not (run / "results.json").is_file():
        say(f"unspoken eval {run} --split test {shlex.join(overrides)}".rstrip())
        evaluate(run, split="test", overrides=list(overrides))
    figures, lines = read_json(run / "results.json"), read_json_lines(run / "metrics.jsonl")
    # runs of earlier code may not say it
    seconds = [line["train_runtime"] for line in lines if "train_runtime" in line]
    return {key: figures[key] for key in (*kept, "data_sha256") if key in figures} | {
        "steps": max(line["step"] for line in lines),
        "train_seconds": round(seconds[-1], 1) if seconds else None,
    }


def audited(run: Path, kept: Sequence[str], against: Sequence[Path] = ()) -> dict[str, Any]:
    """What its audit says, made once.

    Args:
        run: A finished run.
        kept: Which of the figures of `audit.json` are wanted.
        against: Runs to compare with on the same rows.
    """
    if not (run / "audit.json").is_file():
        say(f"unspoken audit {run} {'--against ' * bool(against)}{shlex.join(map(str, against))}".rstrip())
        audit(run, against=list(against))
    figures = read_json(run / "audit.json")
    return {key: figures[key] for key in kept}


def difference(first: Path, second: Path) -> dict[str, Any]:
    """Accuracy of one measured run less that of another on the same rows, with its interval."""
    counts = paired(_rights(first), _rights(second))
    return {"points": counts.cost, "interval": list(newcombe(counts)), "n": counts.n}


def written(out: Path, script: str, arguments: Sequence[str], **figures: Any) -> None:
    """Write a file of results, with its command, date and machine.

    Args:
        out: The file.
        script: The name of the script, in this folder.
        arguments: Those it was called with.
        **figures: What was found.
    """
    command = shlex.join(["python", f"results/{script}", *arguments])
    date = datetime.now(UTC).date().isoformat()
    write_json(out, {"command": command, "date": date, **figures, "environment": environment()})
    say(f"{out} is written")


def say(text: str) -> None:
    """What is going on, on stderr."""
    sys.stderr.write(text + "\n")


def _rights(run: Path) -> list[bool]:
    return [row["verdict"] == "right" for row in read_json_lines(run / "predictions.jsonl")]
