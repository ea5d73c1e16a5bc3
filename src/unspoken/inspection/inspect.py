"""`unspoken inspect`: every analysis on one run, and `inspection.json`. Read it from top to bottom."""

import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspoken import files
from unspoken.device import best_device, environment
from unspoken.errors import RecipeError
from unspoken.evaluation.evaluate import rows_of
from unspoken.evaluation.recorded import Recorded
from unspoken.evaluation.subject import Subject
from unspoken.inspection import lens as lenses
from unspoken.inspection import search, tracing
from unspoken.inspection.attention import attention_by_group, attention_weights, plain_attention
from unspoken.inspection.filled import decoder_layers
from unspoken.inspection.images import seen_images
from unspoken.inspection.outcomes import outcomes, written_after
from unspoken.inspection.probes import probe, word_counts
from unspoken.pretrained import run_to_write
from unspoken.records import Prediction, Split
from unspoken.run_directory import INSPECTION, open_run
from unspoken.tasks.graph import distances, frontiers
from unspoken.thoughts.geometry import Cloud, cloud, principal_paths

ROWS = 1000
"""Rows of the lens, the values, the geometry and the probes."""
SLOW_ROWS = 64
"""Rows of the attention, pairs of the tracing: these run one by one."""
EXAMPLES = 6
"""Rows shown in full."""
PATHS = 64
"""Rows whose thoughts are drawn as paths."""
WORDS = 5
"""Nearest words shown for each thought."""
BINS = 40


def inspect(
    run: Path | str,
    *,
    example: int | None = None,
    data: Path | str | None = None,
    split: Split = "test",
    rows: int | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda section, done, total: None,
    tell: Callable[[dict[str, Any]], None] = lambda results: None,
) -> dict[str, Any]:
    """Inspect the thoughts of a finished run, and write `inspection.json` into it.

    Args:
        run: The run directory.
        example: Show this row in full (from 1) instead of the first few.
        data: A file of rows instead of a split of the run's own task.
        split: Which split.
        rows: Only the first so many rows; default: `ROWS`.
        seed: Seed of everything random in the inspection.
        progress: Told the section, the rows done and the rows there are.
        tell: Told the results before they are written.

    Returns:
        What `inspection.json` holds; docs/inspection.md explains each field.

    Raises:
        RecipeError: The method has no thoughts, or a setting is out of range.
        UnspokenError: The run or the data cannot be used.
    """
    started = time.monotonic()
    run = run_to_write(run)
    files.check_writable(run)
    opened = open_run(run)
    opened.model.to(best_device())
    found = rows_of(opened, opened.recipe, None if data is None else Path(data), split)
    _check(example, rows, seed, len(found.examples))
    subject = Subject.of(opened, found.examples[: rows or ROWS], progress)
    if example is not None and example > len(subject.examples):
        subject = Subject.of(opened, found.examples[:example], progress)
    recorded = subject.record()
    if not any(len(each) for each in recorded.thoughts):
        name = opened.recipe.method.name
        raise RecipeError(
            "unspoken inspect", [f"{name} at stage {opened.stage} has no thoughts: there is nothing to see"]
        )

    omitted: list[dict[str, str]] = []
    ids = search.node_ids(subject)
    counts = range(max(len(each) for each in recorded.thoughts) + 1)
    values = None if ids is None else [search.values_after(subject, ids, count) for count in counts]
    if ids is None:
        reason = "the task has no graphs, or a node is more than one token of this tokenizer"
        omitted += [{"section": section, "reason": reason} for section in ("values", "frontier", "inner_products")]
    answered = subject.answer("answers", subject.prompts())
    oracle = _oracle(subject)
    written = [written_after(subject, count) for count in counts]
    shown = range(min(EXAMPLES, len(subject.examples))) if example is None else [example - 1]
    result = {
        "run": str(run),
        "task": opened.recipe.task.name,
        "method": opened.recipe.method.name,
        "thoughts": opened.recipe.thoughts["name"],
        "stage": opened.stage,
        "seed": opened.recipe.train.seed,
        "data": str(data) if data else split,
        "data_sha256": found.fingerprint,
        "n": len(subject.examples),
        "num_rows": len(found.examples),
        "inspection_seed": seed,
        "examples": [_example(subject, recorded, oracle, values, answered[row], written, row) for row in shown],
        "lens": [asdict(each) for each in lenses.lens(opened.model, recorded.thoughts, oracle, seed)],
        "frontier": None if values is None else _frontier(subject, values, seed),
        "inner_products": None if ids is None else _inner_products(subject, recorded, ids),
        "outcomes": [asdict(outcomes(subject, count, each)) for count, each in enumerate(written)],
        "attention": _attention(subject, recorded, omitted),
        "geometry": _geometry(subject, recorded, omitted),
        "probes": _probes(subject, recorded, omitted, seed),
        "tracing": _tracing(subject, recorded, omitted, seed),
        "omitted": omitted,
        "model_sha256": opened.summary["sha256"]["model.safetensors"],
        "seconds": round(time.monotonic() - started, 1),
        "command": shlex.join(["unspoken", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "environment": environment(),
    }
    tell(result)
    files.write_json(run / INSPECTION, result)
    return result


def _check(example: int | None, rows: int | None, seed: int, num_rows: int) -> None:
    problems = []
    if example is not None and not 1 <= example <= num_rows:
        problems.append(f"example: there is no row {example}; give 1 to {num_rows:,}")
    if rows is not None and rows < 2:
        problems.append(f"rows: {rows} rows tell nothing; give at least 2, better some hundred")
    if seed < 0:
        problems.append(f"seed: {seed} is negative; give 0 or more")
    if problems:
        raise RecipeError("unspoken inspect", problems)


def _per_step(subject: Subject) -> int:
    """Thoughts that stand for one step."""
    return getattr(subject.run.recipe.method, "thoughts_per_step", 1) or 1


def _table(subject: Subject) -> Tensor:
    """Embeddings of all tokens, (V, D)."""
    table: Tensor = subject.run.model.get_input_embeddings().get_parameter("weight")
    return table.detach().cpu()


def _oracle(subject: Subject) -> list[list[frozenset[int]]]:
    """What each thought should hold: the frontier of its step, or the first word of the step."""
    per_step, found = _per_step(subject), []
    for row, prompt in zip(subject.tokenized, subject.prompts(), strict=True):
        steps = [frozenset(each) for each in row.frontiers] or [frozenset(step[:1].tolist()) for step in row.steps]
        held = [steps[k // per_step] if k // per_step < len(steps) else frozenset() for k in range(prompt.num_thoughts)]
        found.append(held)
    return found


def _example(
    subject: Subject,
    recorded: Recorded,
    oracle: Sequence[Sequence[frozenset[int]]],
    values: Sequence[Sequence[search.Values]] | None,
    answered: Prediction,
    written: Sequence[Sequence[Prediction]],
    row: int,
) -> dict[str, Any]:
    """One row in full."""
    example, tokenizer = subject.examples[row], subject.run.tokenizer
    thoughts = []
    if len(recorded.thoughts[row]):
        probabilities = lenses.read(subject.run.model, recorded.thoughts[row])
        for each, held in zip(probabilities, oracle[row], strict=True):
            likeliest, tokens = each.topk(min(WORDS, len(each)))
            known = None
            if held:
                best = max(held, key=lambda token: float(each[token]))
                known = {
                    "words": [tokenizer.decode([token]) for token in sorted(held)],
                    "rank": int((each > each[best]).sum()) + 1,
                    "probability": float(each[sorted(held)].sum()),
                }
            words = [tokenizer.decode([token]) for token in tokens.tolist()]
            thoughts.append({"words": list(zip(words, likeliest.tolist(), strict=True)), "oracle": known})
    graph = example.graph
    return {
        "id": example.id,
        "question": answered.question,
        "images": [asdict(each) for each in seen_images(subject, recorded, row)],
        "expected": example.answer,
        "text": answered.text,
        "verdict": answered.verdict,
        "graph": None
        if graph is None
        else {
            **asdict(graph),
            "depths": distances(graph),
            "frontiers": frontiers(graph),
        },
        "thoughts": thoughts,
        "forced": [{"text": each[row].text, "verdict": each[row].verdict} for each in written],
        "values": None if values is None else [each[row].tolist() for each in values],
        "held": None
        if values is None
        else [search.held_after(subject, example, count) for count in range(len(values))],
    }


def _frontier(subject: Subject, values: Sequence[Sequence[search.Values]], seed: int) -> list[dict[str, Any]]:
    found = [search.recovery(subject, each, count, seed) for count, each in enumerate(values)]
    return [asdict(each) for each in found if each]


def _inner_products(subject: Subject, recorded: Recorded, ids: Sequence[Sequence[int]]) -> dict[str, Any]:
    table = _table(subject)
    per_step, found = _per_step(subject), []
    for k in range(max(map(len, recorded.thoughts))):
        rows = [row for row, each in enumerate(recorded.thoughts) if len(each) > k]
        graphs = [subject.examples[row].graph for row in rows]
        by_class = search.inner_products(
            table,
            [recorded.thoughts[row][k] for row in rows],
            [graph for graph in graphs if graph is not None],
            [ids[row] for row in rows],
            1 + k // per_step,
        )
        found.append((k + 1, by_class))
    everything = np.concatenate([numbers for _, by_class in found for numbers in by_class.values()])
    edges = np.linspace(everything.min(), everything.max(), BINS + 1)
    thoughts = []
    for thought, by_class in found:
        classes = {
            kind: {
                "n": len(numbers),
                "mean": float(numbers.mean()),
                "sd": float(numbers.std()),
                "counts": np.histogram(numbers, edges)[0].tolist(),
            }
            for kind, numbers in by_class.items()
            if len(numbers)
        }
        thoughts.append({"thought": thought, "classes": classes})
    return {"edges": edges.tolist(), "thoughts": thoughts}


def _attention(subject: Subject, recorded: Recorded, omitted: list[dict[str, str]]) -> list[dict[str, Any]]:
    model, per_step = subject.run.model, _per_step(subject)
    prompts = subject.prompts()
    rows = [row for row, each in enumerate(recorded.thoughts) if len(each)][:SLOW_ROWS]
    sums: dict[tuple[int, int], dict[str, list[float]]] = {}
    try:
        with plain_attention(model):
            for done, row in enumerate(rows, 1):
                weights = attention_weights(model, prompts[row], recorded.thoughts[row])
                entries = attention_by_group(
                    weights,
                    prompts[row],
                    subject.tokenized[row],
                    subject.examples[row],
                    per_step,
                    model.config.image_token_id,
                )
                for layer, thought, group, share in entries:
                    sums.setdefault((layer, thought), {}).setdefault(group, []).append(share)
                subject.progress("attention", done, len(rows))
    except (ValueError, TypeError) as error:
        omitted.append({"section": "attention", "reason": f"this decoder does not show its attention: {error}"})
        return []
    return [
        {
            "layer": layer,
            "thought": thought,
            "n": len(groups["itself"]),
            "groups": {group: float(np.mean(shares)) for group, shares in groups.items()},
        }
        for (layer, thought), groups in sums.items()
    ]


def _geometry(subject: Subject, recorded: Recorded, omitted: list[dict[str, str]]) -> dict[str, Any]:
    norms = _table(subject).norm(dim=-1)
    clouds: list[Cloud] = []
    for k in range(max(map(len, recorded.thoughts))):
        thoughts = [each[k] for each in recorded.thoughts if len(each) > k]
        if len(thoughts) > 1:
            clouds.append(cloud(torch.stack(thoughts)))
        else:  # rows with fewer thoughts only become fewer from here on
            omitted.append({"section": f"geometry of thought {k + 1}", "reason": "only one row has it"})
    usual = Counter(map(len, recorded.thoughts)).most_common(1)[0][0]
    rows = [row for row, each in enumerate(recorded.thoughts) if len(each) == usual][:PATHS]
    places, explained = principal_paths(torch.stack([recorded.thoughts[row] for row in rows]))
    return {
        "norms": [{"thought": k, "mean": each.norm, "sd": each.norm_sd} for k, each in enumerate(clouds, 1)],
        "embedding_norm": {"mean": float(norms.mean()), "sd": float(norms.std())},
        "cosine": [each.cosine for each in clouds],
        "effective_rank": [each.effective_rank for each in clouds],
        "pca": {
            "explained": explained.tolist(),
            "paths": places.tolist(),
            "answers": [subject.examples[row].answer for row in rows],
        },
    }


def _probes(subject: Subject, recorded: Recorded, omitted: list[dict[str, str]], seed: int) -> list[dict[str, Any]]:
    """From each thought: the word of its own step, and the answer."""
    per_step, counts_NV, found = _per_step(subject), word_counts(recorded.prompts), []
    for k in range(max(map(len, recorded.thoughts))):
        for target in ("its own step", "the answer"):
            words: list[tuple[int, str]] = []
            for row, (each, example) in enumerate(zip(recorded.thoughts, subject.examples, strict=True)):
                step = k // per_step
                if len(each) > k and (target == "the answer" or step < len(example.steps)):
                    words.append((row, example.answer if target == "the answer" else example.steps[step]))
            classes = {word: index for index, word in enumerate(sorted({word for _, word in words}))}
            if len(words) < 20 or not 1 < len(classes) <= len(words) // 4:
                reason = f"{len(words)} rows with {len(classes)} different labels are too few to fit on a half"
                omitted.append({"section": f"probe of thought {k + 1} for {target}", "reason": reason})
                continue
            thoughts: Tensor = torch.stack([recorded.thoughts[row][k] for row, _ in words])
            labels = torch.tensor([classes[word] for _, word in words])
            figures = probe(thoughts, labels, counts_NV[[row for row, _ in words]], seed=seed)
            above = {"above_control": figures.above_control}
            found.append({"thought": k + 1, "target": target, **asdict(figures), **above})
        subject.progress("probes", k + 1, max(map(len, recorded.thoughts)))
    return found


def _tracing(subject: Subject, recorded: Recorded, omitted: list[dict[str, str]], seed: int) -> dict[str, Any] | None:
    model = subject.run.model
    chosen = tracing.pairs(model, subject.prompts(), recorded.thoughts, subject.tokenized, SLOW_ROWS, seed)
    found = tracing.trace(model, chosen)
    if found is None:
        reason = "the clean answer is not likelier on its own question than on the other one"
        if not chosen:
            reason = "there are no two prompts of one form with thoughts and different answers"
        elif decoder_layers(model) is None:
            reason = "the blocks of this decoder are not found"
        omitted.append({"section": "tracing", "reason": reason})
        return None
    what = "share of the clean answer's probability that comes back when one place of the other run is made clean"
    return {**asdict(found), "what": what}
