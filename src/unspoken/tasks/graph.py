"""What a perfect searcher knows about a question's graph: how far, which way, and whether a path it is shown is right.

Pure functions over `records.Graph`; a path is a sequence of node ids, a step a pair of them.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

from unspoken.errors import DataError
from unspoken.records import Graph

PathClass: TypeAlias = Literal["correct path", "longer path", "hallucination", "wrong target"]
"""What became of a written path (the outcome classes of arXiv:2412.06769)."""


def successors(graph: Graph) -> tuple[tuple[int, ...], ...]:
    """For each node the nodes one edge further, in the order of the edges, each once."""
    following: list[dict[int, None]] = [{} for _ in graph.names]
    for start, end in graph.edges:
        following[start][end] = None
    return tuple(tuple(nodes) for nodes in following)


def distances(graph: Graph) -> tuple[int | None, ...]:
    """For each node the fewest edges from the root to it; 0 for the root, None where no path leads."""
    following = successors(graph)
    found: list[int | None] = [None] * len(graph.names)
    found[graph.root] = 0
    depth, frontier = 0, [graph.root]
    while frontier:
        depth, last, frontier = depth + 1, frontier, []
        for node in last:
            for neighbour in following[node]:
                if found[neighbour] is None:
                    found[neighbour] = depth
                    frontier.append(neighbour)
    return tuple(found)


def reachable(graph: Graph) -> frozenset[int]:
    """Every node that some path from the root leads to, the root included."""
    return frozenset(node for node, distance in enumerate(distances(graph)) if distance is not None)


def layers(graph: Graph) -> tuple[tuple[int, ...], ...]:
    """The reachable nodes by distance: item d holds, ascending, those d edges from the root (breadth-first search)."""
    by_depth: dict[int, list[int]] = {}
    for node, distance in enumerate(distances(graph)):
        if distance is not None:
            by_depth.setdefault(distance, []).append(node)
    return tuple(tuple(by_depth[depth]) for depth in range(len(by_depth)))


def frontiers(graph: Graph) -> tuple[tuple[int, ...], ...]:
    """The nodes on shortest paths by distance: item d holds, ascending, those d edges from the root.

    Item 0 is the root, the last item the target. This is `neighbor_k` of the Superposition data (arXiv:2505.12514);
    `layers` is its breadth-first counterpart, which also holds the dead ends.

    Raises:
        DataError: No path leads from the root to the target.
    """
    depth = distances(graph)
    length = depth[graph.target]
    if length is None:
        raise DataError(
            f"{graph.names[graph.target]!r}, the target, cannot be reached from {graph.names[graph.root]!r}, the root; "
            "check the edges of the graph"
        )
    backwards = [{graph.target}]
    for distance in reversed(range(length)):
        backwards.append({start for start, end in graph.edges if end in backwards[-1] and depth[start] == distance})
    return tuple(tuple(sorted(nodes)) for nodes in reversed(backwards))


def shortest_paths(graph: Graph) -> tuple[tuple[int, ...], ...]:
    """Every shortest path, each the nodes from the root to the target; their number can be exponential in the length.

    Raises:
        DataError: No path leads from the root to the target.
    """
    following = successors(graph)
    paths: list[tuple[int, ...]] = [(graph.root,)]
    for frontier in frontiers(graph)[1:]:
        paths = [(*path, node) for path in paths for node in following[path[-1]] if node in frontier]
    return tuple(paths)


def classify_path(graph: Graph, steps: Sequence[tuple[int, int]], hidden_steps: int = 0) -> PathClass:
    """Say what a written path is: a shortest path to the target, a longer one, one that ends elsewhere, or no path.

    Args:
        graph: The graph that the path is to be in.
        steps: (from, to) node ids as they were written; any other number stands for a node that does not exist.
            Without steps the path ends where it begins, at the root.
        hidden_steps: How many first steps the writer may have taken unseen, in thoughts. The path may then begin at any
            node at most so far from the root, and the shortest way there counts as part of it.

    Returns:
        "hallucination" when a step is no edge, does not begin where the one before it ended, or begins the path in the
        wrong place, whatever its end; else "wrong target" when the path ends at another node than the target;
        else "correct path" when no path is shorter and "longer path" when one is.
    """
    edges = set(graph.edges)
    joined = all(before[1] == after[0] for before, after in pairwise(steps))
    if not joined or any(step not in edges for step in steps):
        return "hallucination"
    begin, end = (steps[0][0], steps[-1][1]) if steps else (graph.root, graph.root)
    depth = distances(graph)
    before_begin = depth[begin]
    if before_begin is None or before_begin > hidden_steps:
        return "hallucination"
    if end != graph.target:
        return "wrong target"
    return "correct path" if before_begin + len(steps) == depth[end] else "longer path"
