"""The oracle on a graph worked out by hand, and against powers of the adjacency matrix on random ones."""

import random
from itertools import pairwise

import numpy as np
import pytest

from unspoken.errors import DataError
from unspoken.records import Graph
from unspoken.tasks.graph import (
    classify_path,
    distances,
    frontiers,
    layers,
    reachable,
    shortest_paths,
    successors,
)

# 0 -> 1 -> 3 -> 5 (target) and 0 -> 2 -> 3; the long way 0 -> 2 -> 4 -> 3; a dead end 1 -> 6; 7 -> 8 is another family
GRAPH = Graph(
    names=tuple("abcdefghi"),
    edges=((0, 1), (0, 2), (1, 3), (2, 3), (2, 4), (4, 3), (3, 5), (1, 6), (7, 8)),
    root=0,
    target=5,
    distractor=8,
)
LOST = Graph(names=("a", "b"), edges=(), root=0, target=1)


def random_graph(seed: int) -> Graph:
    rng = random.Random(seed)
    size = 8
    edges = tuple((a, b) for a in range(size) for b in range(size) if a != b and rng.random() < 0.2)
    return Graph(tuple(map(str, range(size))), edges, root=0, target=size - 1)


def walks(graph: Graph, length: int) -> np.ndarray:
    """Number of walks of a length from the root to each node."""
    size = len(graph.names)
    adjacency = np.zeros((size, size), dtype=int)
    for start, end in graph.edges:
        adjacency[start, end] = 1
    return np.linalg.matrix_power(adjacency, length)[graph.root]


def first_visit(graph: Graph, node: int) -> int | None:
    return next((length for length in range(len(graph.names)) if walks(graph, length)[node]), None)


def test_successors_keep_the_order_of_the_edges_and_drop_repeated_ones() -> None:
    graph = Graph(names=("a", "b", "c"), edges=((0, 2), (0, 1), (0, 2)), root=0, target=2)
    assert successors(graph) == ((2, 1), (), ())


def test_distances_count_edges_from_the_root_and_are_none_where_no_path_leads() -> None:
    assert distances(GRAPH) == (0, 1, 1, 2, 2, 3, 2, None, None)


def test_reachable_holds_the_root_and_all_it_leads_to() -> None:
    assert reachable(GRAPH) == {0, 1, 2, 3, 4, 5, 6}
    assert reachable(LOST) == {0}


def test_layers_hold_dead_ends_and_frontiers_do_not() -> None:
    assert layers(GRAPH) == ((0,), (1, 2), (3, 4, 6), (5,))
    assert frontiers(GRAPH) == ((0,), (1, 2), (3,), (5,))


def test_all_shortest_paths_are_found() -> None:
    assert shortest_paths(GRAPH) == ((0, 1, 3, 5), (0, 2, 3, 5))


@pytest.mark.parametrize("function", [frontiers, shortest_paths])
def test_a_target_out_of_reach_is_an_error_that_names_it(function) -> None:
    with pytest.raises(DataError, match="'b', the target, cannot be reached from 'a'"):
        function(LOST)


def test_a_cycle_is_searched_once() -> None:
    cycle = Graph(names=("a", "b", "c"), edges=((0, 1), (1, 2), (2, 0)), root=1, target=0)
    assert distances(cycle) == (2, 0, 1)
    assert shortest_paths(cycle) == ((1, 2, 0),)


@pytest.mark.parametrize("seed", range(40))
def test_distances_and_path_counts_agree_with_matrix_powers(seed: int) -> None:
    graph = random_graph(seed)
    assert list(distances(graph)) == [first_visit(graph, node) for node in range(len(graph.names))]
    length = first_visit(graph, graph.target)
    if length is None:
        with pytest.raises(DataError):
            shortest_paths(graph)
        return
    paths = shortest_paths(graph)
    assert len(set(paths)) == len(paths) == walks(graph, length)[graph.target]
    assert all(path[0] == graph.root and path[-1] == graph.target and len(path) == length + 1 for path in paths)
    assert all(edge in graph.edges for path in paths for edge in pairwise(path))
    assert frontiers(graph) == tuple(tuple(sorted(set(nodes))) for nodes in zip(*paths, strict=True))


def test_the_random_graphs_have_targets_near_far_and_out_of_reach() -> None:
    lengths = [first_visit(random_graph(seed), 7) for seed in range(40)]
    assert 0 < lengths.count(None) < 20
    assert {1, 2, 3} <= set(lengths)


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        (((0, 1), (1, 3), (3, 5)), "correct path"),
        (((0, 2), (2, 3), (3, 5)), "correct path"),
        (((0, 2), (2, 4), (4, 3), (3, 5)), "longer path"),
        (((0, 1), (1, 6)), "wrong target"),
        (((0, 1), (1, 3)), "wrong target"),
        ((), "wrong target"),
        (((0, 3), (3, 5)), "hallucination"),
        (((0, 1), (3, 5)), "hallucination"),
        (((1, 3), (3, 5)), "hallucination"),
        (((7, 8),), "hallucination"),
        (((0, 1), (1, 3), (3, 99)), "hallucination"),
        (((0, 1), (1, 3), (-1, -1)), "hallucination"),
    ],
)
def test_paths_fall_into_the_classes_of_the_paper(steps: tuple[tuple[int, int], ...], outcome: str) -> None:
    assert classify_path(GRAPH, steps) == outcome


@pytest.mark.parametrize(
    ("steps", "hidden", "outcome"),
    [
        (((1, 3), (3, 5)), 1, "correct path"),
        (((3, 5),), 2, "correct path"),
        (((3, 5),), 1, "hallucination"),
        (((2, 4), (4, 3), (3, 5)), 1, "longer path"),
        (((1, 6),), 1, "wrong target"),
        (((7, 8),), 5, "hallucination"),
        (((0, 1), (1, 3), (3, 5)), 2, "correct path"),
    ],
)
def test_a_path_may_begin_where_hidden_steps_lead(
    steps: tuple[tuple[int, int], ...], hidden: int, outcome: str
) -> None:
    assert classify_path(GRAPH, steps, hidden) == outcome
