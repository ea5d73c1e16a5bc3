"""Projected thoughts: a small network and a norm between the state and the slot (CODI, arXiv:2502.21074)."""

from torch import Tensor, nn

from unspoken.thoughts.base import History, ThoughtSource


class Projection(ThoughtSource):
    """Two linear layers with a GELU between them, then a layer norm, over the state right before the slot.

    Args:
        width: Width of the model.
        hidden: Width between the two layers; default: the model's.
        dropout: Dropout in front of the network.
    """

    reads_window = False

    def __init__(self, width: int, hidden: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = width if hidden is None else hidden
        if hidden < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"projection needs hidden >= 1 and 0 <= dropout < 1, found hidden={hidden}, dropout={dropout}"
            )
        self.network = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width), nn.LayerNorm(width)
        )

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        projected: Tensor = self.network(history.states_before())
        return projected
