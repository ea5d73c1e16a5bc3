"""Rows in tokens, written by hand: what the tests of layouts and of batches begin with."""

import numpy as np

from unspoken.records import IGNORED, StagedExample, TokenizedExample


def ids(values):
    return np.array(values, dtype=np.int32)


def tokenized(
    id="row",
    *,
    start=(),
    premises=(),
    openings=None,
    questions=((1, 2, 3),),
    steps=((10, 11), (12,), (13, 14, 15)),
    answer=(30, 31, 0),
    answer_start=1,
    frontiers=(),
    other_steps=(),
):
    return TokenizedExample(
        id=id,
        start=ids(start),
        premises=tuple(ids(premise) for premise in premises),
        questions=tuple(ids(question) for question in questions),
        steps=tuple(ids(step) for step in steps),
        answer=ids(answer),
        answer_start=answer_start,
        frontiers=tuple(tuple(frontier) for frontier in frontiers),
        openings=tuple(ids(premise) for premise in (premises if openings is None else openings)),
        other_steps=tuple(tuple(ids(step) for step in steps) for steps in other_steps),
    )


def staged(input_ids, *, labels=None, thoughts=(None, 0), id="row"):
    """`thoughts` is (index of the first slot, number of slots)."""
    first, count = thoughts
    labels = [IGNORED] * len(input_ids) if labels is None else labels
    return StagedExample(id, ids(input_ids), ids(labels), num_thoughts=count, first_thought=first)


def random_tokenized(rng, *, max_steps=7, num_steps=None, id=None):
    """A row of random pieces; `rng` is a NumPy generator."""
    count = int(rng.integers(0, max_steps + 1)) if num_steps is None else num_steps
    return tokenized(
        id or f"row {rng.integers(1 << 40)}",
        start=(36,) if rng.random() < 0.5 else (),
        premises=[rng.integers(1, 30, size=rng.integers(1, 4)) for _ in range(rng.integers(0, 3))],
        questions=[rng.integers(1, 30, size=rng.integers(1, 5)) for _ in range(rng.integers(1, 3))],
        steps=[rng.integers(1, 30, size=rng.integers(1, 4)) for _ in range(count)],
        answer=(30, *rng.integers(1, 30, size=rng.integers(1, 4)), 0),
    )
