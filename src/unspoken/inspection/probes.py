"""Linear probes: can a thought's content be read off by a linear map? With a control for what a probe learns anyhow.

Shapes: N rows, D width, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unspoken.evaluation.statistics import wilson


@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe reads.

    Attributes:
        n_train: Rows it was fitted on.
        n_test: Other rows, on which it is measured.
        accuracy: Share of these that it reads right.
        interval: Of the accuracy.
        control_accuracy: The same for a probe whose labels were handed to other rows.
        control_interval: Of the control.
        majority: Accuracy of always saying the commonest label of the fitted rows.
    """

    n_train: int
    n_test: int
    accuracy: float
    interval: tuple[float, float]
    control_accuracy: float
    control_interval: tuple[float, float]
    majority: float

    @property
    def selectivity(self) -> float:
        """Accuracy less that of the control (Hewitt and Liang 2019)."""
        return self.accuracy - self.control_accuracy


def probe(thoughts_ND: Tensor, labels_N: Tensor, *, seed: int = 0, penalty: float = 1e-2) -> Probe:
    """Fit on one half of the rows and measure on the other.

    Args:
        thoughts_ND: One thought of each row.
        labels_N: What it should hold, a class from 0.
        seed: Of the halves and of the control.
        penalty: Weight of the squared norm of the map.

    Raises:
        ValueError: There are fewer than 20 rows.
    """
    n = len(labels_N)
    if n < 20:
        raise ValueError(f"a probe needs at least 20 rows, found {n}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    train, test = order[: n // 2], order[n // 2 :]
    shuffled = labels_N[torch.randperm(n, generator=generator)]
    scaled = (thoughts_ND - thoughts_ND[train].mean(dim=0)) / thoughts_ND[train].std(dim=0).clamp(min=1e-6)
    classes = int(labels_N.max()) + 1
    hits = [
        int((_fit(scaled[train], labels[train], classes, penalty)(scaled[test]) == labels[test]).sum())
        for labels in (labels_N, shuffled)
    ]
    commonest = int((labels_N[test] == labels_N[train].mode().values).sum())
    return Probe(
        n_train=len(train),
        n_test=len(test),
        accuracy=hits[0] / len(test),
        interval=wilson(hits[0], len(test)),
        control_accuracy=hits[1] / len(test),
        control_interval=wilson(hits[1], len(test)),
        majority=commonest / len(test),
    )


class _Linear:
    def __init__(self, weight_DC: Tensor, bias_C: Tensor) -> None:
        self.weight_DC, self.bias_C = weight_DC, bias_C

    def __call__(self, x_ND: Tensor) -> Tensor:
        return (x_ND @ self.weight_DC + self.bias_C).argmax(dim=-1)


def _fit(x_ND: Tensor, labels_N: Tensor, classes: int, penalty: float) -> _Linear:
    """Multinomial logistic regression."""
    weight_DC = torch.zeros(x_ND.size(1), classes, requires_grad=True)
    bias_C = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight_DC, bias_C], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(x_ND @ weight_DC + bias_C, labels_N) + penalty * weight_DC.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return _Linear(weight_DC.detach(), bias_C.detach())
