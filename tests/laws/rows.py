"""Random rows for the laws: questions, thoughts and answers of unequal lengths."""

import numpy as np

from tests.conftest import TOKENS
from unspoken.data.collate import collate
from unspoken.data.stage import stage
from unspoken.records import TokenizedExample


def random_row(rng, *, num_thoughts=None, markers=True, answer_length=None):
    words = [rng.integers(1, 37, size=rng.integers(3, 9)).astype(np.int32) for _ in range(2)]
    if answer_length is not None:
        words[1] = words[1][:1].repeat(answer_length)
    example = TokenizedExample(str(rng.integers(1 << 30)), words[0][:0], (), (words[0],), (), words[1])
    count = int(rng.integers(0, 5)) if num_thoughts is None else num_thoughts
    return stage(example, words[0], count, [words[1]], TOKENS, markers=markers)


def random_rows(seed, *counts, **kwargs):
    """One row per count of thoughts; None draws the count."""
    rng = np.random.default_rng(seed)
    return [random_row(rng, num_thoughts=count, **kwargs) for count in counts]


def batch_of(rows, **kwargs):
    return collate(rows, pad_id=0, latent_id=TOKENS.latent, **kwargs)


def columns_of(batch, index):
    """Columns of the batch that hold real positions of a row."""
    return batch["attention_mask"][index].bool()
