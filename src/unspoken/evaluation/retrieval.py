"""Retrieval: is the caption of an image found among those of others, and the image of a caption?

Shapes: Q queries, C candidates.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import comb
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor

from unspoken import files
from unspoken.device import best_device, environment, rank
from unspoken.evaluation.statistics import wilson
from unspoken.pairs import method_of, read_pairs
from unspoken.prepare import Rows, read_examples
from unspoken.records import Split
from unspoken.run_directory import RESULTS, read_recipe, read_summary
from unspoken.tasks.base import Task
from unspoken.vision.clip import Clip, open_clip

AT = (1, 5)
"""Found means: among so many of the candidates that are most alike."""
DIRECTIONS = ("image_to_text", "text_to_image")


def places(similarity_QC: Tensor, is_right_QC: Tensor) -> list[int]:
    """For each query how many wrong candidates are at least as alike as the best right one: 0 is the first place.

    Who is as alike as the right one counts against it, so that a model that finds all alike finds nothing.
    """
    best_Q1 = similarity_QC.masked_fill(~is_right_QC, float("-inf")).amax(dim=1, keepdim=True)
    found: list[int] = ((similarity_QC >= best_Q1) & ~is_right_QC).sum(dim=1).tolist()
    return found


def chance_at(at: int, num_right: int, num_candidates: int) -> float:
    """How likely one of the right candidates is among so many drawn blindly."""
    at = min(at, num_candidates)
    draws = comb(num_candidates, at)
    return (draws - comb(num_candidates - num_right, at)) / draws


def retrieval(images_NE: Tensor, texts_NE: Tensor, captions: Sequence[str], candidates: int) -> dict[str, Any]:
    """Shares of queries whose partner is found, in both directions.

    Args:
        images_NE: Unit vectors of the images.
        texts_NE: Unit vectors of their captions, in the same order.
        captions: The captions; where several images have the same one, each of them is right for it.
        candidates: Most pairs to seek among; more rows make several groups of about the same size.

    Returns:
        For each direction `recall_K` with `interval_K` (95%), for K in `AT`; `recall_1`, their mean over directions;
        `chance_K`, the same of a blind choice; `n`, the queries of a direction, and `candidates`, the largest group.
    """
    groups = np.array_split(np.arange(len(captions)), -(-len(captions) // candidates))
    found: dict[str, list[int]] = {direction: [] for direction in DIRECTIONS}
    chances: dict[int, list[float]] = {at: [] for at in AT}
    for group in groups:
        names = [captions[index] for index in group]
        is_right_CC = Tensor([[one == other for other in names] for one in names]).bool()
        similarity_CC = images_NE[group] @ texts_NE[group].T
        found["image_to_text"] += places(similarity_CC, is_right_CC)
        found["text_to_image"] += places(similarity_CC.T, is_right_CC)
        for at in AT:
            chances[at] += [chance_at(at, names.count(name), len(names)) for name in names]
    results: dict[str, Any] = {}
    for direction in DIRECTIONS:
        hits = {at: sum(place < at for place in found[direction]) for at in AT}
        results[direction] = {f"recall_{at}": hits[at] / len(captions) for at in AT}
        results[direction] |= {f"interval_{at}": wilson(hits[at], len(captions)) for at in AT}
    results["recall_1"] = fmean(results[direction]["recall_1"] for direction in DIRECTIONS)
    results |= {f"chance_{at}": fmean(chances[at]) for at in AT}
    return {**results, "n": len(captions), "candidates": max(map(len, groups))}


def measure(clip: Clip, rows: Rows, candidates: int) -> dict[str, Any]:
    """`retrieval` of pairs."""
    captions = [pair.answer for pair in rows.examples]
    images_NE = clip.images([row.images[0].array() for row in rows.tokenized])
    return retrieval(images_NE, clip.texts(captions), captions, candidates)


def evaluate_retrieval(
    run: Path,
    task: Task,
    split: Split,
    data: str,
    progress: Callable[[str, int, int], None],
    tell: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Evaluate a run of method `contrastive`, and write `results.json` into it.

    Args:
        run: The run directory.
        task: Where the rows come from.
        split: Which of its splits.
        data: What the results call the rows.
        progress: Told the rows done and the rows there are.
        tell: Told the results before they are written.

    Raises:
        UnspokenError: The run or the rows cannot be used.
    """
    recipe, summary = read_recipe(run), read_summary(run)
    method = method_of(recipe)
    clip = open_clip(run)
    clip.model.to(best_device())
    examples, ledger = read_examples(task, split)
    rows = read_pairs(method.pairs(examples), ledger, clip, task.image_root)
    found = measure(clip, rows, method.candidates)
    progress("retrieval", len(rows.examples), len(rows.examples))
    results = {
        **found,
        "method": method.name,
        "task": task.name,
        "data": data,
        "data_sha256": rows.fingerprint,
        "seed": recipe.train.seed,
        "num_parameters": summary["num_parameters"],
        "model_sha256": summary["sha256"]["model.safetensors"],
        "date": datetime.now(UTC).date().isoformat(),
        "environment": environment(),
    }
    tell(results)
    if rank() == 0:
        files.write_json(run / RESULTS, results)
    return results


def retrieval_table(results: dict[str, Any]) -> str:
    """The figures as lines of text: one for each direction, and one for chance."""
    lines = [f"{'direction':<15}" + "".join(f"  {f'R@{at}':>6}  {'95% interval':<14}" for at in AT) + f"  {'n':>6}"]
    for direction in DIRECTIONS:
        figures = results[direction]
        cells = ""
        for at in AT:
            low, high = figures[f"interval_{at}"]
            cells += f"  {figures[f'recall_{at}']:>6.3f}  [{low:.3f}, {high:.3f}]"
        lines.append(f"{direction.replace('_', ' '):<15}{cells}  {results['n']:>6}")
    cells = "".join(f"  {results[f'chance_{at}']:>6.3f}  {'':<14}" for at in AT)
    lines.append(f"{'chance':<15}{cells}".rstrip())
    lines.append(f"each sought among {results['candidates']} pairs")
    return "\n".join(lines)
