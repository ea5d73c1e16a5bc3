"""The losses of the two players, from the scores that a discriminator gives.

Shapes: N pairs of image and caption, F features.
"""

import torch
from torch import Tensor
from torch.nn import functional


def discriminator_loss(real_N: Tensor, fake_N: Tensor) -> Tensor:
    """Hinge loss: true pairs are to score 1 or more, false ones -1 or less."""
    return functional.relu(1 - real_N).mean() + functional.relu(1 + fake_N).mean()


def generator_loss(fake_N: Tensor) -> Tensor:
    """What is made is to score as high as it can."""
    return -fake_N.mean()


def feature_distance(real_NF: Tensor, fake_NF: Tensor) -> Tensor:
    """How far true and made pairs are apart on average: mean absolute difference of their mean features."""
    return (real_NF.mean(dim=0) - fake_NF.mean(dim=0)).abs().mean()


def told_apart(real_N: Tensor, fake_N: Tensor) -> float:
    """How many pairs score higher with the true caption than with the false one; equal scores count one half."""
    return float(torch.heaviside((real_N - fake_N).double(), torch.tensor(0.5, dtype=torch.float64)).sum())
