"""The shape of the cloud of thoughts: how long they are, how alike, in how many directions they differ.

Shapes: N rows, K thoughts, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Cloud:
    """One thought over many questions.

    Attributes:
        norm: Mean length.
        norm_sd: Its standard deviation.
        cosine: Mean cosine between the thoughts of two questions; 1: all point the same way.
        effective_rank: exp of the entropy of the singular values of the centred thoughts, each over their sum (Roy and
            Vetterli 2007): in about how many directions they differ.
    """

    norm: float
    norm_sd: float
    cosine: float
    effective_rank: float


def cloud(thoughts_ND: Tensor) -> Cloud:
    """Describe one thought over questions.

    Raises:
        ValueError: There are fewer than two.
    """
    if len(thoughts_ND) < 2:
        raise ValueError(f"a cloud needs at least 2 thoughts, found {len(thoughts_ND)}")
    norms = thoughts_ND.norm(dim=-1)
    return Cloud(float(norms.mean()), float(norms.std()), mean_cosine(thoughts_ND), effective_rank(thoughts_ND))


def mean_cosine(thoughts_ND: Tensor) -> float:
    """Mean cosine over all pairs of different rows."""
    units = torch.nn.functional.normalize(thoughts_ND.double(), dim=-1)
    n = len(units)
    # the sum over all pairs is the square of the sum; each row's pair with itself is taken off
    return float((units.sum(dim=0).square().sum() - units.square().sum()) / (n * (n - 1)))


def effective_rank(thoughts_ND: Tensor) -> float:
    """Between 1 and the number of directions; 0 when all rows are the same.

    The squares of the singular values are the eigenvalues of the products of all rows, or of all columns, whichever are
    fewer. A processor finds them faster than a GPU, which has hardly any arithmetic in 64 bits.
    """
    rows = thoughts_ND.cpu().double()
    centred = rows - rows.mean(dim=0)
    products = centred @ centred.T if len(centred) <= centred.size(1) else centred.T @ centred
    squares = torch.linalg.eigvalsh(products)
    # what is smaller is rounding of the products
    sizes = squares[squares > len(squares) * torch.finfo(squares.dtype).eps * squares.max()].sqrt()
    if not float(sizes.sum()) > 1e-9 * float(rows.norm()):  # what is left is rounding of the rows
        return 0.0
    shares = sizes / sizes.sum()
    return float((-(shares * shares.log()).sum()).exp())


def principal_paths(thoughts_NKD: Tensor, num_directions: int = 2) -> tuple[Tensor, Tensor]:
    """The thoughts in the directions in which all of them together differ most.

    Returns:
        (N, K, num_directions) places, and the share of the variance that each direction explains.
    """
    rows, count, width = thoughts_NKD.shape
    flat = thoughts_NKD.reshape(rows * count, width).double()
    centred = flat - flat.mean(dim=0)
    _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    places = centred @ directions[:num_directions].t()
    explained = sizes.square() / sizes.square().sum().clamp(min=1e-12)
    return places.reshape(rows, count, -1), explained[:num_directions]
