"""Pause as thought: the slot holds a learned constant, the same for every question (arXiv:2310.02226)."""

from torch import Tensor

from unspoken.thoughts.base import History, ThoughtSource


class Pause(ThoughtSource):
    """The embedding of `<|latent|>` itself, which is trained like that of any word."""

    reads_states = False
    reads_window = False

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        return history.placeholders
