"""Where a thought looks: the attention from its position to the facts of the question, by their part in the search.

What begins a sequence is a group of its own: much attention often rests there that means nothing.

For the thought that stands for d steps, a fact (an edge from u to v) is `optimal` when it is step d of a shortest path,
`frontier` when u is d - 1 steps from the root otherwise, `reachable` when u is nearer, else `unreachable`
(arXiv:2505.12514 calls these edge groups).

Shapes: H heads, L positions, K thoughts.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from unspoken.inspection.filled import filled
from unspoken.model import LatentForCausalLM
from unspoken.records import Example, Graph, StagedExample, TokenizedExample, Tokens
from unspoken.tasks.graph import distances, frontiers

Groups = dict[str, list[float]]


@contextmanager
def plain_attention(model: LatentForCausalLM) -> Iterator[None]:
    """Let the decoder compute its attention in the way that can show its weights.

    Raises:
        ValueError: The decoder has no such way.
    """
    decoder = model.model.language_model
    usual = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(usual)


@torch.no_grad()
def attention_weights(
    model: LatentForCausalLM, prompt: StagedExample, thoughts_KD: Tensor, written: Tokens | None = None
) -> list[Tensor]:
    """Attention of one prompt, mean over heads: one (L, L) tensor a layer, each row with sum 1.

    Args:
        model: Within `plain_attention`.
        prompt: What it reads.
        thoughts_KD: Its thoughts.
        written: Words behind the prompt.
    """
    output = model.model.language_model(
        inputs_embeds=filled(model, prompt, thoughts_KD, written), output_attentions=True, use_cache=False
    )
    return [each[0].float().mean(dim=0).cpu() for each in output.attentions]


def attention_by_group(
    weights: Sequence[Tensor],
    prompt: StagedExample,
    row: TokenizedExample,
    example: Example,
    per_step: int,
    image_id: int | None = None,
) -> Iterator[tuple[int, int, str, float]]:
    """(layer, thought, group, attention): for facts the mean over those of the group, else the sum over positions.

    Args:
        weights: For each layer the attention of all positions of the prompt, (L, L).
        prompt: What they belong to.
        row: The question as tokens.
        example: The question as text.
        per_step: Thoughts that stand for one step.
        image_id: Id of `<|image|>`, of a model that sees.
    """
    first = prompt.first_thought
    assert first is not None, "only prompts with thoughts are looked into"
    spans, end = premise_spans(row)
    edges = [None if example.graph is None else edge_of(premise, example.graph) for premise in example.premises]
    is_image_L = torch.from_numpy(np.isin(prompt.input_ids, () if image_id is None else image_id))
    begin, asked = len(row.start), spans[-1].stop if spans else len(row.start)
    has_start = not bool(is_image_L[:begin].all())
    for layer, weights_LL in enumerate(weights, 1):
        for k in range(prompt.num_thoughts):
            from_thought = weights_LL[first + k].masked_fill(is_image_L, 0)
            groups: Groups = {}
            for span, edge in zip(spans, edges, strict=False):
                if edge is not None and example.graph is not None:
                    kind = edge_class(example.graph, edge, 1 + k // per_step)
                    groups.setdefault(kind, []).append(float(from_thought[span].sum()))
            for kind, each in groups.items():
                yield layer, k + 1, kind, sum(each) / len(each)
            if bool(is_image_L.any()):
                yield layer, k + 1, "images", float(weights_LL[first + k][is_image_L].sum())
            if has_start:
                yield layer, k + 1, "start", float(from_thought[:begin].sum())
            yield layer, k + 1, "all facts", float(from_thought[begin:asked].sum())
            yield layer, k + 1, "question", float(from_thought[asked:end].sum())
            yield layer, k + 1, "markers", float(from_thought[end:first].sum())
            yield layer, k + 1, "other thoughts", float(from_thought[first : first + k].sum())
            yield layer, k + 1, "itself", float(from_thought[first + k])


def premise_spans(row: TokenizedExample) -> tuple[list[slice], int]:
    """The positions of each premise in a prompt, and where the question ends."""
    place, spans = len(row.start), []
    for index, premise in enumerate(row.premises):
        tokens = row.openings[0] if index == 0 and row.openings else premise
        spans.append(slice(place, place + len(tokens)))
        place += len(tokens)
    return spans, place + len(row.questions[0])


def edge_of(premise: str, graph: Graph) -> tuple[int, int] | None:
    """The edge that a fact states: the first two names in it, perhaps in the plural; None where it states no edge."""
    ids = {name.lower(): node for node, name in enumerate(graph.names)}
    # the longest first: "not small" is not "small"
    names = "|".join(re.escape(name) for name in sorted(ids, key=len, reverse=True))
    nodes = [ids[found] for found in re.findall(rf"\b({names})(?:es|s)?\b", premise.lower())]
    edge = (nodes[0], nodes[1]) if len(nodes) > 1 else None
    return edge if edge in graph.edges else None


def edge_class(graph: Graph, edge: tuple[int, int], step: int) -> str:
    """What an edge means for the step of a search, counted from 1; see the top of this file."""
    depth, layers = distances(graph), frontiers(graph)
    start, end = edge
    distance = depth[start]
    if distance is None or distance > step - 1:
        return "unreachable"
    if distance < step - 1:
        return "reachable"
    on_path = step < len(layers) and start in layers[step - 1] and end in layers[step]
    return "optimal" if on_path else "frontier"
