"""The two layouts that all methods share: question, thoughts, then words to learn; and the prompt without the words."""

from collections.abc import Sequence
from random import Random

import numpy as np

from unspoken.records import IGNORED, StagedExample, ThoughtTokens, TokenizedExample, Tokens

NOTHING: Tokens = np.array([], dtype=np.int32)


def question_tokens(example: TokenizedExample, rng: Random | None = None) -> Tokens:
    """The question with its premises; with `rng`, premises in a random order and one of the wordings."""
    order, question = list(range(len(example.premises))), example.questions[0]
    if rng is not None:
        rng.shuffle(order)
        question = rng.choice(example.questions)
    openings = example.openings or example.premises
    opening = [openings[index] for index in order[:1]]
    return np.concatenate([example.start, *opening, *(example.premises[index] for index in order[1:]), question])


def stage(
    example: TokenizedExample,
    question: Tokens,
    num_thoughts: int,
    words: Sequence[Tokens],
    tokens: ThoughtTokens,
    *,
    markers: bool,
    given: Tokens = NOTHING,
) -> StagedExample:
    """Lay an example out as `question [start] thoughts [end] given words`, training on the words alone.

    Args:
        example: Where it comes from.
        question: See `question_tokens`.
        num_thoughts: Thought slots.
        words: What the model learns to write, in pieces; empty for a prompt.
        tokens: Ids of the thought tokens.
        markers: Whether `<|start-latent|>` and `<|end-latent|>` stand around the slots, even when there are none.
        given: First tokens of the output that are given, not learned.
    """
    slots = np.full(num_thoughts, tokens.latent, dtype=np.int32)
    if markers:
        slots = np.concatenate([[tokens.start], slots, [tokens.end]]).astype(np.int32)
    target = np.concatenate([NOTHING, *words])
    input_ids = np.concatenate([question, slots, given, target])
    labels = np.full(len(input_ids), IGNORED, dtype=np.int32)
    if len(target):
        labels[-len(target) :] = target
    return StagedExample(
        id=example.id,
        input_ids=input_ids,
        labels=labels,
        num_thoughts=num_thoughts,
        first_thought=len(question) + markers if num_thoughts else None,
        num_forced=len(given),
        images=example.images,
        foreseen=example.foreseen,
    )
