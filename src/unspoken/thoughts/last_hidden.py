"""Coconut: the last hidden state is the next input (arXiv:2412.06769, section 3)."""

from torch import Tensor

from unspoken.thoughts.base import History, ThoughtSource


class LastHidden(ThoughtSource):
    """The state right before the slot, after the final norm, unchanged."""

    reads_window = False

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        return history.states_before()
