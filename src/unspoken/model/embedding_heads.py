"""Guesses beside the words: what the next image looks like, and what the answer means, as vectors of one space.

Both are read from the state that the first word is written from: after the question, what was seen and the thoughts.
What is right comes from a CLIP that stays outside of the model.

Shapes: B rows, D width of the model, E width of the space; of 2 vectors the first is of the image, the second of text.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unspoken.records import IGNORED

KINDS = ("image", "text")
"""What is guessed, in the order of the vectors."""


class EmbeddingHeads(nn.Module):
    """From a state to two unit vectors.

    Args:
        settings: `size` (E), and the keys of `EmbeddingHeadsSettings`.
        width: D.
    """

    def __init__(self, settings: Mapping[str, Any], width: int) -> None:
        super().__init__()
        self.size, self.shared = int(settings["size"]), bool(settings["shared"])
        self.temperature = float(settings["temperature"])
        self.kinds_of_loss = {kind: str(settings[f"{kind}_loss"]) for kind in KINDS}
        self.weights = {kind: float(settings[f"{kind}_weight"]) for kind in KINDS}
        hidden = int(settings["hidden"])
        vectors = 1 if self.shared else len(KINDS)
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, vectors * self.size))

    def forward(self, states_BD: Tensor) -> Tensor:
        """(B, D) -> (B, 2, E), unit vectors; the same one twice where the guess is shared."""
        guessed = self.layers(states_BD).float().view(len(states_BD), -1, self.size)
        return functional.normalize(guessed, dim=-1).expand(-1, len(KINDS), -1)

    def losses(self, guessed_B2E: Tensor, foreseen_B2E: Tensor) -> dict[str, Tensor]:
        """The mean loss over rows of each guess, without its weight.

        Args:
            guessed_B2E: From `forward`.
            foreseen_B2E: What is right, unit vectors.
        """
        return {
            kind: self._loss(self.kinds_of_loss[kind], guessed_B2E[:, place], foreseen_B2E[:, place])
            for place, kind in enumerate(KINDS)
        }

    def _loss(self, kind: str, guessed_BE: Tensor, right_BE: Tensor) -> Tensor:
        if kind == "mse":
            return functional.mse_loss(guessed_BE, right_BE)
        if kind == "cosine":
            return 1 - (guessed_BE * right_BE).sum(dim=-1).mean()
        similarity_BB = guessed_BE @ right_BE.T / self.temperature
        return functional.cross_entropy(similarity_BB, torch.arange(len(right_BE), device=right_BE.device))


def states_before_words(states_BLD: Tensor, labels_BL: Tensor) -> Tensor:
    """The state that the first trained word of each row is written from, (B, D)."""
    first_B = (labels_BL != IGNORED).int().argmax(dim=1)
    return states_BLD[torch.arange(len(states_BLD), device=states_BLD.device), first_B - 1]
