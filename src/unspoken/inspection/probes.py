"""Linear probes: can a thought's content be read off by a linear map? Beside each the same map on the question's words.

The control tells what needs no thought: where the words of a question give a label away, by whatever they have to do
with it, a thought that holds no more than these words shows the same. It is high when that is so. It sees how often
each word stands in the question, not where; a label that follows from their order is none that it can find. It is not
the control task of Hewitt and Liang (2019), random labels of words, which tells what a probe can learn by heart.

Shapes: N rows, D width, V different tokens, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unspoken.evaluation.statistics import wilson
from unspoken.records import StagedExample


@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe reads.

    Attributes:
        n_train: Rows it was fitted on.
        n_test: Other rows, on which it is measured.
        accuracy: Share of these that it reads right.
        interval: Of the accuracy.
        control_accuracy: The same for a probe of the words of the question.
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
    def above_control(self) -> float:
        """Accuracy less that of the control."""
        return self.accuracy - self.control_accuracy


def word_counts(prompts: Sequence[StagedExample]) -> Tensor:
    """How often each token stands in front of the thoughts, (N, V), for every token that stands there in some row."""
    questions = [prompt.input_ids[: prompt.first_thought] for prompt in prompts]
    tokens = np.unique(np.concatenate(questions))
    counts = [np.bincount(np.searchsorted(tokens, each), minlength=len(tokens)) for each in questions]
    return torch.from_numpy(np.stack(counts)).float()


def probe(thoughts_ND: Tensor, labels_N: Tensor, words_NV: Tensor, *, seed: int = 0, penalty: float = 1e-2) -> Probe:
    """Fit on one half of the rows and measure on the other, thoughts and words alike.

    Args:
        thoughts_ND: One thought of each row.
        labels_N: What it should hold, a class from 0.
        words_NV: What the question of each row is made of; see `word_counts`.
        seed: Of the halves.
        penalty: Weight of the squared norm of the map.

    Raises:
        ValueError: There are fewer than 20 rows.
    """
    n = len(labels_N)
    if n < 20:
        raise ValueError(f"a probe needs at least 20 rows, found {n}")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    train, test = order[: n // 2], order[n // 2 :]
    hits, control = (_hits(each, labels_N, train, test, penalty) for each in (thoughts_ND, words_NV))
    commonest = int((labels_N[test] == labels_N[train].mode().values).sum())
    return Probe(
        n_train=len(train),
        n_test=len(test),
        accuracy=hits / len(test),
        interval=wilson(hits, len(test)),
        control_accuracy=control / len(test),
        control_interval=wilson(control, len(test)),
        majority=commonest / len(test),
    )


def _hits(x_ND: Tensor, labels_N: Tensor, train: Tensor, test: Tensor, penalty: float) -> int:
    """Rows of `test` whose label is read right by a map that is fitted to `train`."""
    scaled = (x_ND - x_ND[train].mean(dim=0)) / x_ND[train].std(dim=0).clamp(min=1e-6)
    read = _fit(scaled[train], labels_N[train], int(labels_N.max()) + 1, penalty)
    return int((read(scaled[test]) == labels_N[test]).sum())


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
