"""The words of the model that a thought source belongs to, for thoughts that are made of words."""

from typing import Any, Protocol

from torch import Tensor, nn


class HasWords(Protocol):
    """A model with a head."""

    def get_input_embeddings(self) -> nn.Module:
        """Its embedding table."""

    def logits(self, states: Tensor) -> Tensor:
        """Logits of all words, (..., V), from states, (..., D)."""


class Vocabulary:
    """Embeddings and head of a model, whatever stands there when they are asked: resized, tied or with LoRA.

    It is no module, so the parameters stay the model's alone. A copy of the model has a vocabulary of its own; a copy
    of the source keeps that of the model it belongs to.

    Args:
        model: Whose words these are.
    """

    def __init__(self, model: HasWords) -> None:
        self.model = model

    def embeddings(self, ids: Tensor) -> Tensor:
        """What the model reads in place of these ids, (..., D)."""
        embeddings: Tensor = self.model.get_input_embeddings()(ids)
        return embeddings

    def logits(self, states: Tensor) -> Tensor:
        """Logits of all words, (..., V) in fp32, from states, (..., D)."""
        return self.model.logits(states)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Vocabulary":
        return Vocabulary(memo.get(id(self.model), self.model))
