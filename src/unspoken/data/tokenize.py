"""Example -> TokenizedExample: every piece of text becomes token ids, once."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np
from transformers import PreTrainedTokenizerBase

from unspoken.errors import DataError
from unspoken.records import Example, TextFormat, TokenizedExample, Tokens

WORD = r"\n|\[\w+\]|\w+|[^\w\s]+"
"""What counts as one word: a line break, a name in brackets, letters and digits, or a run of punctuation."""
MAX_NAMED = 20
"""Unknown words, and rows with such, that an error names."""
NO_TOKENS: Tokens = np.array([], dtype=np.int32)


def tokenize(
    examples: Sequence[Example],
    text: TextFormat,
    tokenizer: PreTrainedTokenizerBase,
    image_slot: Tokens = NO_TOKENS,
) -> list[TokenizedExample]:
    """Tokenise the pieces of every example, each on its own.

    Control tokens that occur in a text are read as plain text.

    Args:
        examples: The rows.
        text: How their pieces are written.
        tokenizer: Of the model.
        image_slot: The tokens that an image takes, in front of the text.

    Raises:
        DataError: Words are not in the vocabulary; the first 20 of their rows are named and the others counted.
    """
    written = [list(pieces(example, text)) for example in examples]
    encoded = _encode(chain.from_iterable(written), tokenizer)
    unknown = _unknown_words(encoded, tokenizer)
    start = _start(tokenizer)
    answer_start = sum(map(len, _encode([text.answer_start.strip()], tokenizer).values()))
    end = np.array([tokenizer.eos_token_id], dtype=np.int32)
    tokenized, problems = [], []
    words: dict[str, None] = {}
    for example, row in zip(examples, written, strict=True):
        tokens = iter([encoded[piece] for piece in row])
        num_premises = len(example.premises)
        # in the order of `pieces`
        tokenized.append(
            TokenizedExample(
                id=example.id,
                start=np.concatenate([start, *[image_slot] * len(example.images)]),
                openings=tuple(islice(tokens, num_premises)),
                premises=tuple(islice(tokens, num_premises)),
                questions=tuple(islice(tokens, 1 + len(example.rewordings))),
                steps=tuple(islice(tokens, len(example.steps))),
                other_steps=tuple(tuple(islice(tokens, len(steps))) for steps in example.other_steps),
                answer=np.concatenate([next(tokens), end]),
                choices=tuple(np.concatenate([choice, end]) for choice in tokens),
                answer_start=answer_start,
                frontiers=_frontiers(example, tokenizer),
            )
        )
        for piece in dict.fromkeys(row[num_premises:]):
            if piece in unknown:
                problems.append(f"row {example.id}: {_listed(unknown[piece])} of {piece.strip()!r}")
                words |= dict.fromkeys(unknown[piece])
    if problems:
        raise DataError(_message_of_unknown(list(words), problems))
    return tokenized


def _message_of_unknown(words: Sequence[str], problems: Sequence[str]) -> str:
    what = f"the word {_listed(words)} is" if len(words) == 1 else f"the words {_listed(words)} are"
    more = [f"and {len(problems) - MAX_NAMED} more"] if len(problems) > MAX_NAMED else []
    listed = "\n  ".join([f"{what} not in the vocabulary:", *problems[:MAX_NAMED], *more])
    return (
        f"{listed}\nA tokenizer from scratch knows the words of the training rows alone: "
        "use those, or train with model.tokenizer set to a subword tokenizer"
    )


def _listed(words: Sequence[str]) -> str:
    shown = [repr(word) for word in words[:MAX_NAMED]]
    return ", ".join([*shown, *([f"and {len(words) - MAX_NAMED} more"] if len(words) > MAX_NAMED else [])])


def pieces(example: Example, text: TextFormat) -> Iterator[str]:
    """The texts of an example that are tokenised each on its own, in the order in which `tokenize` takes them."""
    yield from example.premises
    for premise in example.premises:
        yield text.premise_separator + premise
    for question in (example.question, *example.rewordings):
        yield (text.premise_separator if example.premises else "") + question + text.question_end
    for step in chain(example.steps, *example.other_steps):
        yield step + text.step_end
    for answer in (example.answer, *example.choices):
        yield text.answer_start + answer


def _encode(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tokens]:
    """The tokens of each text. Rows of a generated task share most of their sentences, which are tokenised once."""
    different = [text for text in dict.fromkeys(texts) if text]
    if not different:
        return {"": np.array([], dtype=np.int32)}
    batch = tokenizer(different, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False)
    tokens = {text: np.array(ids, dtype=np.int32) for text, ids in zip(different, batch["input_ids"], strict=True)}
    return {"": np.array([], dtype=np.int32), **tokens}


def _start(tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """What the tokenizer puts in front of a text (Llama's beginning-of-sequence token; nothing for GPT-2)."""
    ids = [token for token in tokenizer("")["input_ids"] if token == tokenizer.bos_token_id][:1]
    return np.array(ids, dtype=np.int32)


def _unknown_words(encoded: Mapping[str, Tokens], tokenizer: PreTrainedTokenizerBase) -> Mapping[str, Sequence[str]]:
    """The texts with words that are not in the vocabulary, and those words."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:
        return {}
    texts = [text for text, ids in encoded.items() if (ids == unknown).any()]
    return {
        text: [word for word in re.findall(WORD, text) if _holds(word, unknown, tokenizer)] or [text] for text in texts
    }


def _holds(word: str, token: int, tokenizer: PreTrainedTokenizerBase) -> bool:
    return token in tokenizer(word, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def _frontiers(example: Example, tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], ...]:
    frontiers = []
    for words in example.frontiers:
        ids = [tokenizer.convert_tokens_to_ids(word) for word in words]
        if None in ids or tokenizer.unk_token_id in ids:
            return ()  # a subword tokenizer: the objectives that need one token a node refuse such rows themselves
        frontiers.append(tuple(ids))
    return tuple(frontiers)
