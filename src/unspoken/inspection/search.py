"""The search that thoughts carry out: which nodes of the question's graph the model holds after each of them.

After k thoughts the model is made to write; the probabilities of the nodes as its next word, divided by their sum, are
their values (arXiv:2412.06769, figures 5 to 8). A model that searches in breadth gives value to the nodes a correct
search may hold, and to no others. Beside it: the inner products of thoughts with the embeddings of nodes by their class
(arXiv:2505.12514).

Shapes: N rows, M nodes of a row, K thoughts, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unspoken.data.collate import collate, inputs_of
from unspoken.evaluation.subject import Subject
from unspoken.records import IGNORED, Example, Graph
from unspoken.tasks.graph import distances, frontiers

Values: TypeAlias = npt.NDArray[np.float64]
NodeClass: TypeAlias = Literal["unreachable", "reachable", "frontier", "optimal"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """How well values tell the nodes that a search may hold from the others.

    Attributes:
        num_thoughts: Thoughts before the model was made to write.
        n: Rows with such nodes.
        auc: Mean over rows of the probability that such a node has a larger value than another one.
        interval: 95%, bootstrap over rows.
        shuffled_auc: The same with as many nodes of the row drawn at random in their place: the control.
        shuffled_interval: Of `shuffled_auc`.
    """

    num_thoughts: int
    n: int
    auc: float
    interval: tuple[float, float]
    shuffled_auc: float
    shuffled_interval: tuple[float, float]


def node_ids(subject: Subject) -> list[list[int]] | None:
    """The token of each node of each row; None when a row has no graph or a node is more than one token."""
    tokenizer, known = subject.run.tokenizer, {}
    found = []
    for example in subject.examples:
        if example.graph is None:
            return None
        for name in example.graph.names:
            if name not in known:
                known[name] = tokenizer.encode(name, add_special_tokens=False)
            if len(known[name]) != 1:
                return None
        found.append([known[name][0] for name in example.graph.names])
    return found


@torch.no_grad()
def values_after(subject: Subject, ids: Sequence[Sequence[int]], num_thoughts: int) -> list[Values]:
    """The value of every node of every row after so many thoughts; (M,) each, with sum 1.

    Args:
        subject: The rows.
        ids: See `node_ids`.
        num_thoughts: Thoughts before the model is made to write.
    """
    run, tokenizer = subject.run, subject.run.tokenizer
    prompts = []
    for example, prompt in zip(subject.examples, subject.prompts(num_thoughts), strict=True):
        words, _ = _next_node(subject, example, num_thoughts)
        bare = prompt.input_ids[: len(prompt.input_ids) - prompt.num_forced]
        written = np.array(tokenizer.encode(words, add_special_tokens=False) if words else [], dtype=bare.dtype)
        ids_ = np.concatenate([bare, written])
        prompts.append(replace(prompt, input_ids=ids_, labels=np.full_like(ids_, IGNORED), num_forced=0))
    found: list[Values] = []
    for start in range(0, len(prompts), subject.batch_size):
        batch = collate(
            prompts[start : start + subject.batch_size], pad_id=run.model.config.pad_token_id or 0, align=False
        )
        inputs = inputs_of(batch, run.model.device)
        probabilities = run.model(**inputs, logits_to_keep=1).logits[:, -1].double().softmax(dim=-1).cpu().numpy()
        for row, each in enumerate(probabilities, start):
            nodes = each[list(ids[row])]
            found.append(nodes / nodes.sum())
    return found


def _next_node(subject: Subject, example: Example, num_thoughts: int) -> tuple[str, int]:
    """What the model is made to write, and the depth of the node that comes next in a correct search."""
    per_step = getattr(subject.run.recipe.method, "thoughts_per_step", 1) or 1
    found = subject.run.recipe.task.next_node(example, num_thoughts // per_step)
    assert found is not None, "every task with a graph knows how a node is written"
    return found


def held_after(subject: Subject, example: Example, num_thoughts: int) -> tuple[int, ...]:
    """The nodes that a correct search may hold after so many thoughts; none when it is over."""
    _, depth = _next_node(subject, example, num_thoughts)
    return nodes_at(example, depth)


def nodes_at(example: Example, depth: int) -> tuple[int, ...]:
    """The nodes that a correct search may hold at a depth; none beyond the target."""
    assert example.graph is not None, "only rows with a graph are searched"
    layers = frontiers(example.graph)
    return layers[depth] if depth < len(layers) else ()


def recovery(
    subject: Subject, values: Sequence[Values], num_thoughts: int, seed: int = 0, resamples: int = 2000
) -> Recovery | None:
    """How well the values after so many thoughts show the nodes a search may hold; None for fewer than 2 such rows."""
    rng = np.random.default_rng(seed)
    aucs, shuffled = [], []
    for example, each in zip(subject.examples, values, strict=True):
        held = held_after(subject, example, num_thoughts)
        if held and len(held) < len(each):
            aucs.append(auc(each, held))
            shuffled.append(auc(each, rng.choice(len(each), size=len(held), replace=False).tolist()))
    if len(aucs) < 2:
        return None
    return Recovery(
        num_thoughts,
        len(aucs),
        float(np.mean(aucs)),
        mean_interval(aucs, seed, resamples),
        float(np.mean(shuffled)),
        mean_interval(shuffled, seed, resamples),
    )


def auc(values_M: Values, chosen: Sequence[int]) -> float:
    """Probability that a chosen node has a larger value than another one; ties count half."""
    mask = np.zeros(len(values_M), dtype=bool)
    mask[list(chosen)] = True
    ours, others = values_M[mask][:, None], values_M[~mask][None, :]
    return float((ours > others).mean() + 0.5 * (ours == others).mean())


def mean_interval(numbers: Sequence[float], seed: int, resamples: int = 2000) -> tuple[float, float]:
    """95% percentile interval of a mean, bootstrap over the numbers."""
    array = np.asarray(numbers)
    picks = np.random.default_rng(seed).integers(len(array), size=(resamples, len(array)))
    low, high = np.quantile(array[picks].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def classes_at(graph: Graph, depth: int) -> dict[int, NodeClass]:
    """The class of every node for a thought that stands for `depth` steps.

    `optimal`: at this depth on a shortest path to the target; `frontier`: at this depth otherwise; `reachable`: nearer
    to the root; `unreachable`: not within so many steps.
    """
    layers = frontiers(graph)
    optimal = layers[depth] if depth < len(layers) else ()
    found: dict[int, NodeClass] = {}
    for node, distance in enumerate(distances(graph)):
        if distance is None or distance > depth:
            found[node] = "unreachable"
        elif distance < depth:
            found[node] = "reachable"
        else:
            found[node] = "optimal" if node in optimal else "frontier"
    return found


def inner_products(
    embeddings_VD: Tensor,
    thoughts_ND: Sequence[Tensor],
    graphs: Sequence[Graph],
    ids: Sequence[Sequence[int]],
    depth: int,
) -> Mapping[NodeClass, Values]:
    """Inner products of thoughts with the embeddings of all nodes, by the class of the node.

    Args:
        embeddings_VD: Of all tokens.
        thoughts_ND: One thought of each row.
        graphs: The graph of each row.
        ids: The tokens of its nodes.
        depth: Steps that the thought stands for.
    """
    found: dict[NodeClass, list[float]] = {"unreachable": [], "reachable": [], "frontier": [], "optimal": []}
    for thought, graph, nodes in zip(thoughts_ND, graphs, ids, strict=True):
        products = (embeddings_VD[list(nodes)].double() @ thought.double()).tolist()
        for node, kind in classes_at(graph, depth).items():
            found[kind].append(products[node])
    return {kind: np.asarray(numbers) for kind, numbers in found.items()}
