"""What a model with embedding heads foresees: its guesses sought among those of other rows, its captions beside images.

The space is that of the CLIP which the heads were trained towards; it has seen each next image, the model has not.

Shapes: N rows, E width of the space.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspoken.data.collate import collate, inputs_of
from unspoken.evaluation.captions.evaluated import caption
from unspoken.evaluation.captions.images import PREFIX, beside
from unspoken.evaluation.captions.measure import plain
from unspoken.evaluation.captions.statistics import mean
from unspoken.evaluation.retrieval import AT, chance_at, places
from unspoken.evaluation.statistics import wilson
from unspoken.model import LatentForCausalLM
from unspoken.model.embedding_heads import KINDS
from unspoken.records import Example, Prediction, StagedExample
from unspoken.tasks.base import Task
from unspoken.vision.clip import Clip

CANDIDATES = 100
"""Rows that a guess is sought among, at most."""


def measured(
    model: LatentForCausalLM,
    clip: Clip,
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[StagedExample],
    conditions: Mapping[str, Sequence[Prediction]],
    batch_size: int,
) -> dict[str, Any]:
    """The `foreseen` of `results.json`, of rows that all have a next image.

    Args:
        model: With embedding heads, in evaluation mode.
        clip: The CLIP of their space.
        task: Of captions.
        examples: Its rows, at least two.
        prompts: What the model reads for each.
        conditions: What was written under each; `none` is the model as trained.
        batch_size: Rows run together.
    """
    known = [prompt.foreseen for prompt in prompts if prompt.foreseen is not None]
    assert len(known) == len(prompts), "rows without a next image are measured nowhere"
    foreseen_N2E = torch.from_numpy(np.stack(known))
    guessed_N2E = guesses(model, prompts, batch_size)
    captions = {name: [caption(task, each) for each in predictions] for name, predictions in conditions.items()}
    previous = [task.previous_caption(example) for example in examples]
    copied = [text for text in previous if text is not None]
    if len(copied) == len(examples):
        captions["previous_caption"] = copied
    prefix = PREFIX if _can_read(clip, PREFIX) else ""
    references = [example.answer for example in examples]
    scores = beside(clip, foreseen_N2E[:, 0], captions, references, prefix=prefix)
    return {
        "heads": {
            kind: sought(guessed_N2E[:, place], foreseen_N2E[:, place], references) for place, kind in enumerate(KINDS)
        },
        "clip_score": {name: plain(each.figures()) for name, each in scores.items()},
        "prefix": prefix,
        "n": len(examples),
    }


@torch.no_grad()
def guesses(model: LatentForCausalLM, prompts: Sequence[StagedExample], batch_size: int) -> Tensor:
    """What the heads tell of each row, (N, 2, E)."""
    assert model.embedding_heads is not None, "other models guess no vectors"
    found = []
    for start in range(0, len(prompts), batch_size):
        few = prompts[start : start + batch_size]
        batch = collate(few, pad_id=model.config.pad_token_id or 0, align=False)
        states_BLD = model.model(**inputs_of(batch, model.device)).last_hidden_state
        found.append(model.embedding_heads(states_BLD[:, -1]).cpu())
    return torch.cat(found)


def sought(guessed_NE: Tensor, right_NE: Tensor, captions: Sequence[str]) -> dict[str, Any]:
    """How alike guesses are to what is right, and how often that is found by them among what is right for others.

    Args:
        guessed_NE: Unit vectors.
        right_NE: Unit vectors.
        captions: Of each row; rows with the same one are right for each other.

    Returns:
        `cosine` with its interval; `recall_K` with `interval_K` (95%) and `chance_K`, for K in `retrieval.AT`; `n`,
        and `candidates`, the rows of the largest group that was sought among.
    """
    groups = np.array_split(np.arange(len(captions)), -(-len(captions) // CANDIDATES))
    ranks: list[int] = []
    chances: dict[int, list[float]] = {at: [] for at in AT}
    for group in groups:
        names = [captions[index] for index in group]
        is_right_CC = torch.tensor([[one == other for other in names] for one in names])
        ranks += places(guessed_NE[group] @ right_NE[group].T, is_right_CC)
        for at in AT:
            chances[at] += [chance_at(at, names.count(name), len(names)) for name in names]
    hits = {at: sum(place < at for place in ranks) for at in AT}
    cosine = mean((guessed_NE.double() * right_NE.double()).sum(dim=1).tolist()).figure()
    return {
        "cosine": {"value": cosine.value, "interval": cosine.interval},
        **{f"recall_{at}": hits[at] / len(captions) for at in AT},
        **{f"interval_{at}": wilson(hits[at], len(captions)) for at in AT},
        **{f"chance_{at}": float(np.mean(chances[at])) for at in AT},
        "n": len(captions),
        "candidates": max(map(len, groups)),
    }


def foreseen_table(found: Mapping[str, Any]) -> str:
    """The figures as lines of text."""
    lines = [f"{'guess of':<18} {'cosine':>7}" + "".join(f"  {f'R@{at}':>6}  {'95% interval':<14}" for at in AT)]
    for kind, figures in found["heads"].items():
        cells = ""
        for at in AT:
            low, high = figures[f"interval_{at}"]
            cells += f"  {figures[f'recall_{at}']:>6.3f}  [{low:.3f}, {high:.3f}]"
        lines.append(f"{f'the next {kind}':<18} {figures['cosine']['value']:>7.3f}{cells}")
    figures = found["heads"][KINDS[0]]
    cells = "".join(f"  {figures[f'chance_{at}']:>6.3f}  {'':<14}" for at in AT)
    lines += [f"{'chance':<18} {'':>7}{cells}".rstrip(), f"each sought among {figures['candidates']} rows", ""]
    lines.append(f"{'captions of':<18} {'CLIPScore':>9}  {'95% interval':<14}  {'cosine':>7}")
    for name, values in found["clip_score"].items():
        low, high = values["clip_score"]["interval"]
        shown = "as trained" if name == "none" else name.replace("_", " ")
        lines.append(
            f"{shown:<18} {values['clip_score']['value']:>9.3f}  [{low:.3f}, {high:.3f}]  "
            f"{values['cosine']['value']:>7.3f}"
        )
    return "\n".join(line.rstrip() for line in lines)


def _can_read(clip: Clip, text: str) -> bool:
    """Whether the CLIP knows these words: one of few words, from scratch, may not."""
    return clip.tokenizer.unk_token_id not in clip.tokenizer(text, add_special_tokens=False)["input_ids"]
