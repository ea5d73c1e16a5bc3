"""Captions between what a model writes, the text of a caption, and its tokens."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from unspoken.records import TextFormat, Tokens


class Writing:
    """How captions are written.

    Args:
        tokenizer: Of the model.
        text: How the pieces of a row are written.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, text: TextFormat) -> None:
        self.tokenizer, self.text = tokenizer, text
        self.num_start = len(self._ids([text.answer_start.strip()])[0]) if text.answer_start.strip() else 0

    def captions(self, written: Sequence[Sequence[int]]) -> list[str]:
        """What a model wrote as the caption: what follows the last start of an answer, or all of it."""
        marker = self.text.answer_start.strip()
        texts = [self.tokenizer.decode(list(ids), skip_special_tokens=True) for ids in written]
        return [(text.rpartition(marker)[2] if marker else text).strip() for text in texts]

    def tokens(self, captions: Sequence[str]) -> list[Tokens]:
        """The tokens of each caption as an answer has them, without start and end."""
        if not captions:
            return []
        written = self._ids([self.text.answer_start + caption for caption in captions])
        return [np.array(ids[self.num_start :], dtype=np.int32) for ids in written]

    def read(self, tokens: Tokens) -> str:
        """Tokens as text."""
        text: str = self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)
        return text.strip()

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return found
