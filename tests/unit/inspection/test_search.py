"""Values against one row at a time without a cache, classes of nodes against every path, figures against loops."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unspoken.data.tokenizer import thought_tokens
from unspoken.evaluation.subject import Subject
from unspoken.inspection.search import (
    auc,
    classes_at,
    held_after,
    inner_products,
    mean_interval,
    node_ids,
    nodes_at,
    recovery,
    values_after,
)
from unspoken.prepare import build_model, build_tokenizer
from unspoken.recipe import resolve
from unspoken.records import Graph
from unspoken.run_directory import Run

STAGE = 3
METHODS = {
    "coconut": {"name": "coconut", "max_stage": STAGE},
    "two per step": {"name": "coconut", "max_stage": STAGE, "thoughts_per_step": 2, "markers": False},
    "superposition": {"name": "superposition", "max_stage": STAGE},
}


def subject_for(rendering="symbols", method="coconut"):
    """A run as `open_run` gives it, with large random weights, and 14 rows; batches of 5 do not divide them."""
    recipe = resolve(
        {
            "task": {
                "name": "prosqa", "rendering": rendering, "max_nodes": 12, "min_hops": 2, "max_hops": 3,
                "train_rows": 1, "validation_rows": 1, "test_rows": 14,
            },
            "model": {"layers": 2, "heads": 2, "width": 16, "max_positions": 192, "init_std": 0.4},
            "method": METHODS[method],
            "evaluate": {"batch_size": 5},
        },
        "test",
    )  # fmt: skip
    tokenizer = build_tokenizer(recipe, [])
    run = Run(Path("nowhere"), recipe, build_model(recipe, tokenizer).eval(), tokenizer, STAGE, {})
    return Subject.of(run, recipe.task.examples("test")[0], lambda name, done, total: None)


SETUPS = [
    ("symbols", "coconut"),
    ("symbols", "two per step"),
    ("symbols", "superposition"),
    ("words", "coconut"),
    ("words", "two per step"),
]


@pytest.fixture(scope="module")
def subject():
    return subject_for()


# ---- values


@torch.no_grad()
def naive_values(subject, example, num_thoughts, lead):
    """One row, each thought from a pass over everything before it, no cache; the ids from the whole text at once."""
    run = subject.run
    text, tokens = run.recipe.task.text, thought_tokens(run.tokenizer)
    question = text.premise_separator.join([*example.premises, example.question]) + text.question_end
    slots = [tokens.latent] * num_thoughts
    if getattr(run.recipe.method, "markers", False):
        slots = [tokens.start, *slots, tokens.end]
    encode = run.tokenizer.encode
    ids = torch.tensor([*encode(question, add_special_tokens=False), *slots, *encode(lead, add_special_tokens=False)])
    embeds = run.model.get_input_embeddings()(ids)[None].clone()
    decoder = run.model.model.language_model
    for column in (ids == tokens.latent).nonzero().flatten().tolist():
        embeds[0, column] = decoder(inputs_embeds=embeds[:, :column], use_cache=False).last_hidden_state[0, -1]
    logits = run.model.lm_head(decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state[0, -1])
    nodes = run.tokenizer.convert_tokens_to_ids(list(example.graph.names))
    return logits[nodes].double().softmax(dim=-1).numpy()


@pytest.mark.parametrize(("rendering", "method"), SETUPS)
def test_values_sum_to_1_and_are_those_of_one_row_at_a_time(rendering, method):
    subject = subject_for(rendering, method)
    ids = node_ids(subject)
    per_step = 2 if method == "two per step" else 1
    for num_thoughts in (0, 1, 3):
        found = values_after(subject, ids, num_thoughts)
        for values, example in zip(found, subject.examples, strict=True):
            root = example.graph.names[example.graph.root]
            lead = "" if rendering == "symbols" else "Every" if num_thoughts // per_step else f"{root} is a"
            assert values.shape == (len(example.graph.names),)
            assert float(values.sum()) == pytest.approx(1.0, abs=1e-12)
            np.testing.assert_allclose(values, naive_values(subject, example, num_thoughts, lead), atol=1e-5)
    assert max(each.max() - each.min() for each in found) > 0.1, "equal values would show nothing"


def test_values_differ_with_the_number_of_thoughts(subject):
    ids = node_ids(subject)
    none, one = values_after(subject, ids, 0), values_after(subject, ids, 1)
    assert all(np.abs(before - after).max() > 1e-3 for before, after in zip(none, one, strict=True))


@pytest.mark.parametrize("rendering", ["symbols", "words"])
def test_each_node_has_the_token_of_its_name(rendering):
    subject = subject_for(rendering)
    for nodes, example in zip(node_ids(subject), subject.examples, strict=True):
        assert tuple(subject.run.tokenizer.convert_ids_to_tokens(nodes)) == example.graph.names


def test_no_row_may_lack_a_graph_or_have_a_node_of_two_tokens(subject):
    first, *others = subject.examples
    graph = first.graph
    assert node_ids(replace(subject, examples=[*others, replace(first, graph=None)])) is None
    renamed = replace(graph, names=("0 1", *graph.names[1:]))
    assert node_ids(replace(subject, examples=[*others, replace(first, graph=renamed)])) is None


# ---- nodes


def random_dag(rng):
    """Edges from smaller to larger numbers in shuffled names, a target that the root reaches."""
    while True:
        count = int(rng.integers(3, 9))
        order = rng.permutation(count).tolist()
        chosen = [pair for pair in itertools.combinations(order, 2) if rng.random() < 0.35]
        graph = Graph(tuple(map(str, range(count))), tuple(chosen), root=order[0], target=order[-1])
        if any(path[-1] == graph.target for path in paths_of(graph)):
            return graph


def paths_of(graph):
    """Every path from the root, however long."""
    found, todo = [], [(graph.root,)]
    while todo:
        path = todo.pop()
        found.append(path)
        todo += [(*path, end) for start, end in graph.edges if start == path[-1]]
    return found


def expected_classes(graph, depth):
    paths = paths_of(graph)
    nearest = {
        node: min((len(path) - 1 for path in paths if path[-1] == node), default=None)
        for node in range(len(graph.names))
    }
    shortest = [path for path in paths if path[-1] == graph.target and len(path) - 1 == nearest[graph.target]]
    found = {}
    for node, distance in nearest.items():
        if distance is None or distance > depth:
            found[node] = "unreachable"
        elif distance < depth:
            found[node] = "reachable"
        else:
            found[node] = "optimal" if any(path[depth : depth + 1] == (node,) for path in shortest) else "frontier"
    return found


def test_the_classes_of_nodes_are_those_of_a_search_through_every_path():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(150):
        graph = random_dag(rng)
        for depth in range(len(graph.names) + 1):
            found = classes_at(graph, depth)
            assert sorted(found) == list(range(len(graph.names))), "each node has one class"
            assert found == expected_classes(graph, depth)
            seen.update(found.values())
    assert seen == {"unreachable", "reachable", "frontier", "optimal"}


def test_nodes_at_a_depth_are_the_optimal_ones_and_none_beyond_the_target(subject):
    for example in subject.examples:
        length = len(example.frontiers)
        assert nodes_at(example, 0) == (example.graph.root,)
        assert nodes_at(example, length) == (example.graph.target,)
        for depth in range(length + 1):
            classes = expected_classes(example.graph, depth)
            assert nodes_at(example, depth) == tuple(node for node, kind in classes.items() if kind == "optimal")
        for depth in (length + 1, length + 2, length + 50):
            assert nodes_at(example, depth) == ()


def test_inner_products_are_those_of_a_loop_over_rows_and_nodes():
    rng = np.random.default_rng(1)
    table = torch.from_numpy(rng.normal(size=(20, 6))).float()
    graphs = [random_dag(rng) for _ in range(7)]
    thoughts = [torch.from_numpy(rng.normal(size=6)).float() for _ in graphs]
    ids = [rng.permutation(20)[: len(graph.names)].tolist() for graph in graphs]
    for depth in (0, 1, 2, 9):
        expected = {"unreachable": [], "reachable": [], "frontier": [], "optimal": []}
        for thought, graph, tokens in zip(thoughts, graphs, ids, strict=True):
            for node, kind in sorted(expected_classes(graph, depth).items()):
                expected[kind].append(
                    sum(a * b for a, b in zip(thought.tolist(), table[tokens[node]].tolist(), strict=True))
                )
        found = inner_products(table, thoughts, graphs, ids, depth)
        assert {kind: numbers.tolist() for kind, numbers in found.items()} == {
            kind: pytest.approx(numbers) for kind, numbers in expected.items()
        }
        assert sum(map(len, found.values())) == sum(len(graph.names) for graph in graphs)


# ---- figures


def test_auc_is_the_share_of_pairs_in_the_right_order_ties_half():
    rng = np.random.default_rng(0)
    with_ties = 0
    for _ in range(100):
        values = rng.integers(0, 6, size=rng.integers(2, 10)) / 6
        chosen = rng.permutation(len(values))[: rng.integers(1, len(values))].tolist()
        others = [node for node in range(len(values)) if node not in chosen]
        score = 0.0
        for ours, theirs in itertools.product(chosen, others):
            score += 1.0 if values[ours] > values[theirs] else 0.5 if values[ours] == values[theirs] else 0.0
            with_ties += values[ours] == values[theirs]
        assert auc(values, chosen) == pytest.approx(score / (len(chosen) * len(others)))
    assert with_ties > 100


def indicator(subject, depth, sign=1.0):
    """Values that show exactly the nodes at a depth."""
    found = []
    for example in subject.examples:
        values = np.zeros(len(example.graph.names))
        values[list(nodes_at(example, depth))] = sign
        found.append(values)
    return found


@pytest.mark.parametrize("num_thoughts", [0, 1, 2])
def test_values_that_show_the_frontier_recover_it_and_another_choice_of_nodes_does_not(subject, num_thoughts):
    values = indicator(subject, num_thoughts + 1)
    found = [recovery(subject, values, num_thoughts, seed, resamples=10) for seed in range(100)]
    known = sum(len(example.frontiers) > num_thoughts for example in subject.examples)
    for each in found:
        assert (each.num_thoughts, each.n, each.auc, each.interval) == (num_thoughts, known, 1.0, (1.0, 1.0))
    assert np.mean([each.shuffled_auc for each in found]) == pytest.approx(0.5, abs=0.03)
    assert len({each.shuffled_auc for each in found}) > 1


@pytest.mark.parametrize(
    ("rendering", "method", "depths"),
    [
        ("symbols", "coconut", [1, 2, 3, 4]),
        ("symbols", "two per step", [1, 1, 2, 2]),
        # in words a step begins with the node that it leaves, the first one with the root, which is written for it
        ("words", "coconut", [1, 1, 2, 3]),
        ("words", "two per step", [1, 1, 1, 1]),
    ],
)
def test_a_search_may_hold_the_nodes_of_the_step_that_comes_next(rendering, method, depths):
    subject = subject_for(rendering, method)
    for num_thoughts, depth in enumerate(depths):
        held = [held_after(subject, example, num_thoughts) for example in subject.examples]
        assert held == [nodes_at(example, depth) for example in subject.examples]
        if any(held):
            assert recovery(subject, indicator(subject, depth), num_thoughts).auc == 1.0


def test_values_that_show_all_other_nodes_are_as_wrong_as_can_be(subject):
    assert recovery(subject, indicator(subject, 1, sign=-1.0), 0).auc == 0.0


def test_values_of_another_depth_recover_nothing_but_it(subject):
    assert recovery(subject, indicator(subject, 2), 0).auc < 0.6


def test_recovery_is_the_mean_over_rows_and_its_control_lies_in_its_interval(subject):
    values = values_after(subject, node_ids(subject), 1)
    found = recovery(subject, values, 1)
    expected = [
        auc(each, nodes_at(example, 2))
        for each, example in zip(values, subject.examples, strict=True)
        if len(example.frontiers) > 1
    ]
    assert found.auc == pytest.approx(np.mean(expected))
    assert found.interval == mean_interval(expected, 0)
    assert found.shuffled_interval[0] < found.shuffled_auc < found.shuffled_interval[1]
    assert recovery(subject, values, 1) == found
    assert recovery(subject, values, 1, seed=1).shuffled_auc != found.shuffled_auc


def test_beyond_the_targets_there_is_nothing_to_recover(subject):
    lengths = sorted(len(example.frontiers) for example in subject.examples)
    values = indicator(subject, 1)
    assert (lengths[0], lengths[-1]) == (2, 3)
    assert recovery(subject, values, 2).n == lengths.count(3) < len(lengths)
    assert recovery(subject, values, 3) is None


def test_one_row_is_too_few(subject):
    one, two = (replace(subject, examples=subject.examples[:count]) for count in (1, 2))
    assert recovery(one, indicator(one, 1), 0) is None
    assert recovery(two, indicator(two, 1), 0).n == 2


def test_the_interval_of_a_mean_narrows_as_the_theory_says():
    numbers = np.random.default_rng(0).normal(size=2000).tolist()
    low, high = mean_interval(numbers, 0)
    mean, error = np.mean(numbers), np.std(numbers) / np.sqrt(2000)
    assert (low, high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.2 * error)
    assert mean_interval([0.25] * 9, 0) == (0.25, 0.25)
    assert mean_interval(numbers, 0) == (low, high) != mean_interval(numbers, 1)
