"""Synthetic run directories: the files that a report reads, and nothing else."""

import json
from dataclasses import asdict
from pathlib import Path

from unspoken.evaluation.statistics import wilson
from unspoken.records import Evaluation, Prediction

ENVIRONMENT = {
    "python": "3.11.7",
    "packages": {"unspoken": "0.1.0", "torch": "2.13.0"},
    "machine": "x86_64",
    "system": "Linux",
    "cores": 2,
    "threads": 2,
    "accelerator": None,
    "processes": 1,
}


def figures(right, n, *, thoughts=4.0, tokens=2.0):
    """The figures of a condition in which so many of n questions were answered right."""
    return Evaluation(
        accuracy=right / n,
        interval=wilson(right, n),
        n=n,
        num_right=right,
        num_unanswered=0,
        tokens_per_answer=tokens,
        thoughts_per_answer=thoughts,
        passes_per_answer=thoughts + tokens,
    )


def build_run(
    path: Path,
    *,
    method="coconut",
    trained=None,
    controls=None,
    stages=(0, 1, 2),
    epochs=2,
    losses=None,
    accuracies=None,
    predictions=(),
    finished=True,
    data="test",
    data_sha256="e" * 64,
    task="hops",
    seed=0,
):
    """Write a run directory.

    Args:
        path: Where.
        method: Its method.
        trained: Its figures; None when it is not evaluated.
        controls: Figures by control.
        stages: The stages of its curriculum.
        epochs: Epochs of each stage; 4 logged steps each.
        losses: Loss of each logged step; default: falling.
        accuracies: Accuracy of each validation, out of 512; default: rising.
        predictions: Its answers.
        finished: Whether training came to its end.
        data: What it was evaluated on.
        data_sha256: Fingerprint of that.
        task: Its task.
        seed: Its seed.
    """
    path.mkdir(parents=True)
    recipe = {
        "task": {"name": task},
        "method": {"name": method},
        "thoughts": {"name": "last_hidden"},
        "train": {"seed": seed},
        "evaluate": {"controls": ["zero"]},
    }
    resolved = {
        "recipe": recipe,
        "data": {"train": "a" * 64, "validation": "b" * 64},
        "tokenizer": "c" * 64,
        "rows": {split: {"rows_in": 1000, "rows_kept": 999, "rejected": [], "notes": []} for split in ("train",)},
        "environment": ENVIRONMENT,
    }
    (path / "resolved.json").write_text(json.dumps(resolved))
    text = f"task:\n  name: {task}\nmethod:\n  name: {method}\ntrain:\n  seed: {seed}\n"
    (path / "recipe.yaml").write_text(text, encoding="utf-8", errors="replace")
    (path / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in log(stages, epochs, losses, accuracies))
    )
    summary = {"stage": stages[-1], "step": 10, "last_step": 200 * epochs * len(stages), "num_parameters": 406_912}
    if finished:
        (path / "run.json").write_text(json.dumps({**summary, "sha256": {}}))
    if trained:
        results = {
            **asdict(trained),
            "controls": {name: asdict(value) for name, value in (controls or {}).items()},
            "data": data,
            "data_sha256": data_sha256,
            "num_parameters": 406_912,
            "environment": ENVIRONMENT,
        }
        (path / "results.json").write_text(json.dumps(results))
        (path / "predictions.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in predictions))
    return path


def log(stages, epochs, losses, accuracies):
    """The lines of a log: four of training and one of a validation an epoch, the last of which comes twice."""
    total = len(stages) * epochs
    for epoch in range(total):
        stage = stages[epoch // epochs]
        for quarter in range(4):
            number = 4 * epoch + quarter
            loss = losses[number] if losses else 2.0 / (1 + number)
            yield {"step": 50 * (number + 1), "epoch": (number + 1) / 4, "stage": stage, "loss": loss, "grad_norm": 1.0}
        accuracy = accuracies[epoch] if accuracies else (epoch + 1) / (total + 1)
        low, high = wilson(round(512 * accuracy), 512)
        validation = {
            "eval_accuracy": round(512 * accuracy) / 512,
            "eval_accuracy_low": low,
            "eval_accuracy_high": high,
        }
        for _ in range(2 if epoch == total - 1 else 1):
            yield {"step": 200 * (epoch + 1), "epoch": epoch + 1.0, "stage": stage, **validation}
    yield {"step": 200 * total, "epoch": float(total), "stage": stages[-1], "train_runtime": 1.0, "train_loss": 0.5}


def answer(verdict="right", question="a b c ?", text="### d", expected="d", id="row-0"):
    """A prediction."""
    predicted = None if verdict == "no answer" else text.removeprefix("### ")
    return Prediction(id, question, expected, text, predicted, verdict, num_thoughts=4, num_tokens=2, num_passes=6)
