"""Tokenizers: one word of the task a token, or that of a pretrained model; both with the three thought tokens."""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from unspoken.data.tokenize import WORD, pieces
from unspoken.errors import RecipeError
from unspoken.records import Example, TextFormat, ThoughtTokens

START, LATENT, END, IMAGE = "<|start-latent|>", "<|latent|>", "<|end-latent|>", "<|image|>"
PADDING, END_OF_TEXT, UNKNOWN = "<|pad|>", "<|endoftext|>", "<|unknown|>"

SPLIT = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)

CHAT_TEMPLATE = (
    "NOTE{{ bos_token if BOS else '' }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ QUESTION_END }}"
    + "{% set thoughts = n_latent if n_latent is defined else DEFAULT %}"
    + "OPEN{% for _ in range(thoughts) %}<|latent|>{% endfor %}CLOSE{{ ANSWER_START }}{% endif %}"
)
"""Puts the thoughts after the question, so that stock tools (pipeline, lm-eval, servers) think without knowing it."""


def word_tokenizer(words: Sequence[str], further: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are these words, in this order, after the special ones; `further` are special, too.

    It decodes with single spaces and none before punctuation, so "Tom is a lempus." survives the round trip.
    """
    specials = [PADDING, END_OF_TEXT, UNKNOWN, START, LATENT, END, *further]
    vocabulary = {word: index for index, word in enumerate([*specials, *dict.fromkeys(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = SPLIT
    tokenizer.decoder = decoders.WordPiece(prefix="\x00", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PADDING,
        eos_token=END_OF_TEXT,
        unk_token=UNKNOWN,
        additional_special_tokens=[START, LATENT, END, *further],
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def words_of(examples: Iterable[Example], text: TextFormat) -> list[str]:
    """Every word of the format and of the examples, in order of appearance, as the tokenizer will split them."""
    found: dict[str, None] = {}
    form = (text.premise_separator, text.question_end, text.step_end, text.answer_start)
    for piece in chain(form, *(pieces(example, text) for example in examples)):
        found.update((word, None) for word, _ in SPLIT.pre_tokenize_str(piece))
    return list(found)


def load_tokenizer(path: str, revision: str | None = None, further: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """A pretrained tokenizer with the thought tokens and `further` special ones added (once) and left padding.

    Raises:
        RecipeError: There is no tokenizer at `path`, or it has no end-of-sequence token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        if not Path(path).exists():
            reason = f"there is no such folder here (a run has to be trained first), and as a name on the hub: {reason}"
        raise RecipeError("model", [f"no tokenizer can be loaded from {path!r}: {reason}"]) from error
    if tokenizer.eos_token_id is None:
        raise RecipeError("model", [f"the tokenizer of {path!r} has no end-of-sequence token; answers could not end"])
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked by position, never by this id
    tokenizer.add_special_tokens({"additional_special_tokens": [START, LATENT, END, *further]})
    tokenizer.padding_side = "left"
    return tokenizer


def thought_tokens(tokenizer: PreTrainedTokenizerBase) -> ThoughtTokens:
    """The ids of the thought tokens.

    Raises:
        RecipeError: The tokenizer has none.
    """
    ids = tokenizer.convert_tokens_to_ids([LATENT, START, END])
    if None in ids or tokenizer.unk_token_id in ids:
        raise RecipeError("tokenizer", [f"it lacks {LATENT}, {START} or {END}; it was not made for latent reasoning"])
    return ThoughtTokens(*ids)


def image_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of `<|image|>`.

    Raises:
        RecipeError: The tokenizer has none.
    """
    found = tokenizer.convert_tokens_to_ids(IMAGE)
    if found is None or found == tokenizer.unk_token_id:
        raise RecipeError("tokenizer", [f"it lacks {IMAGE}; it was not made for a model that sees images"])
    return int(found)


def set_chat_template(
    tokenizer: PreTrainedTokenizerBase,
    num_thoughts: int,
    *,
    question_end: str = "",
    markers: bool = False,
    answer_start: str = "",
    note: str = "",
) -> None:
    """Make `apply_chat_template(add_generation_prompt=True)` write the prompt of training; `n_latent=` sets thoughts.

    Args:
        tokenizer: Gets the template; it is saved with it.
        num_thoughts: Thoughts where `n_latent` is not given.
        question_end: What follows a question in training.
        markers: Whether markers stand around the thoughts.
        answer_start: What of an answer is given.
        note: What whoever reads the template is to know about the number of thoughts.
    """
    starts_with_bos = tokenizer.bos_token_id is not None and tokenizer.bos_token_id in tokenizer("")["input_ids"]
    parts = {
        "NOTE": f"{{# {note} #}}" if note else "",
        "DEFAULT": str(num_thoughts),
        "BOS": "true" if starts_with_bos else "false",
        "OPEN": START * markers,
        "CLOSE": END * markers,
        "QUESTION_END": json.dumps(question_end),
        "ANSWER_START": json.dumps(answer_start),
    }
    tokenizer.chat_template = re.sub("|".join(parts), lambda part: parts[part[0]], CHAT_TEMPLATE)
