"""Synthetic run directories: the files that a report reads, and nothing else."""

import json
from dataclasses import asdict
from pathlib import Path

from unspoken.evaluation.statistics import wilson
from unspoken.records import Evaluation, Prediction
from unspoken.report.inline import BEGIN, END

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


def bare(text):
    """A sentence without the invisible marks around the names in it."""
    return text.replace(BEGIN, "").replace(END, "")


def answer(verdict="right", question="a b c ?", text="### d", expected="d", id="row-0"):
    """A prediction."""
    predicted = None if verdict == "no answer" else text.removeprefix("### ")
    return Prediction(id, question, expected, text, predicted, verdict, num_thoughts=4, num_tokens=2, num_passes=6)


def learn_from_rewards(path: Path, exact, *, paid=None, thoughts=None, checks=(), halts=False):
    """Put the log of a run with rewards into a run: a line for each reward, 10 updates apart, then the validations.

    Args:
        path: The run.
        exact: Reward of each logged update for right answers.
        paid: All that was paid; default: the same.
        thoughts: Thoughts of each logged update; default: 4.
        checks: (step, thoughts of a validation question).
        halts: Whether its policy learns when to stop.
    """
    lines = [
        {
            "step": 10 * number, "loss": -1e-9, "policy_loss": -1e-9, "reward": (paid or exact)[number - 1],
            "reward_exact": reward, "share_exact": 1.0, "thoughts": (thoughts or [4.0] * len(exact))[number - 1],
            "latent_share": 0.5, "entropy": 0.1, "approx_kl": 0.0, "clip_fraction": 0.0, "learning_rate": 2e-4,
            "seconds": 0.5, "epoch": 0, "stage": 0,
        }
        for number, reward in enumerate(exact, 1)
    ]  # fmt: skip
    accuracy = {"eval_accuracy": 0.5, "eval_accuracy_low": 0.4, "eval_accuracy_high": 0.6}
    for step, count in checks:
        lines.append({"step": step, "epoch": 1, "stage": 0, **accuracy, "eval_thoughts_per_answer": count})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    resolved = json.loads((path / "resolved.json").read_text())
    resolved["recipe"]["thoughts"] = {"name": "gaussian", "halt_after": 1 if halts else None}
    (path / "resolved.json").write_text(json.dumps(resolved))


def draw_trajectories(path: Path, rights, *, oracle=None, passes=6.0, n=100, value=False, data="test", **changes):
    """Put a `trajectories.json` into a run.

    Args:
        path: The run.
        rights: By the number of trajectories, how many of the questions their vote answers right; that for 1 is what
            one of them answers right whatever their number.
        oracle: How many any of them answers right, by their number; default: as many as the vote.
        passes: Of one trajectory.
        n: Questions.
        value: Whether a critic valued them.
        data: What they were drawn on.
        changes: Of the file.
    """
    weights = "d" * 64
    summary = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**summary, "sha256": {"model.safetensors": weights}}))

    def worth(right):
        return {"accuracy": right / n, "interval": wilson(right, n)}

    found = [
        {
            "num_trajectories": size, "n": n, "single": worth(rights[1]), "vote": worth(right),
            "likelihood": worth(right - 1), "weighted": worth(right - 2), "oracle": worth((oracle or rights)[size]),
            "thoughts_per_question": 4.0 * size, "tokens_per_question": 2.0 * size,
            "passes_per_question": passes * size, "distinct_answers": 1 / size,
            "agreement": None if size == 1 else 0.75, **({"value": worth(right - 3)} if value else {}),
        }
        for size, right in rights.items()
    ]  # fmt: skip
    values = {
        "figures": found,
        "thoughts": [
            {"thought": 1, "pairs": 30, "distance": 1.625, "cosine": 0.875},
            {"thought": 2, "pairs": 0, "distance": None, "cosine": None},
        ],
        "siblings": [
            {"sibling": number, "accuracy": 0.5 + number / 100, "alone": 0.01} for number in range(1, max(rights) + 1)
        ],
        "stopped": 0.25,
        "unread": 0.125,
        "drawn_together": True,
        "data": data,
        "data_sha256": "e" * 64,
        "model_sha256": weights,
        "settings": {"temperature": 1.0, "spread": 0.0, "token_temperature": 0.7, "seed": 3, "batch_size": 64},
        "environment": ENVIRONMENT,
    }
    (path / "trajectories.json").write_text(json.dumps(values | changes))
